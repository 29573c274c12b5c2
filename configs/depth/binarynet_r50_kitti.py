"""BinaryNet-50 on KITTI: weights are plain signs, the surrogate is the clip, one shortcut around each block."""

_base_ = 'bireal_r50_kitti.py'

model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
