"""DeepLabV3 with a Bi-Real-18 backbone of output stride 8."""

_base_ = ['mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py', '_base_/bireal.py']

model = dict(backbone=_base_.bireal_backbone)
optim_wrapper = dict(constructor='BinaryOptimWrapperConstructor')
