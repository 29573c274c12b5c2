"""BinaryNet on ResNet's structure: weights are plain signs, the surrogate is the clip, a shortcut spans two."""

_base_ = 'bireal_r18_street.py'

model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
