"""BinaryNet on ResNet's structure (paper's table: 42.2 / 67.1 %)."""

_base_ = '../bireal_r18_imagenet.py'

model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
