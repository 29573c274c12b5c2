"""``binarize(model)``: from an existing ResNet of any library to its Bi-Real twin.

``trunk`` finds the network, ``anatomy`` reads its blocks, ``twins`` are the Bi-Real blocks, ``binarize`` puts them in.
"""
