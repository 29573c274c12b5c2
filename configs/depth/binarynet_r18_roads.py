"""BinaryNet-18 on the same pairs."""

_base_ = 'bireal_r18_roads.py'

model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
