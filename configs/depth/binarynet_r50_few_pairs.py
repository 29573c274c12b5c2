"""BinaryNet-50 on the same handful of pairs."""

_base_ = 'bireal_r50_few_pairs.py'

model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
