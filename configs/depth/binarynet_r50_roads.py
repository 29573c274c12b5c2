"""BinaryNet-50 on the same pairs."""

_base_ = 'bireal_r50_roads.py'

model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
