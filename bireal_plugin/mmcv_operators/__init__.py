"""mmcv's operators by torchvision and PyTorch, for an mmcv without compiled ones (mmcv-lite).

All of mmcv's Python is in mmcv-lite; what it lacks is the compiled module ``mmcv._ext``, whose functions fill tensors
that they are given. The functions here do the same under the same names and arguments. ``finder`` puts them in place.
"""
