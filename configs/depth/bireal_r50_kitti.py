"""Bi-Real-50 with Garg's FCN skip head and loss on KITTI: 160 x 608, batch 10, 60 000 iterations per stage."""

_base_ = '_base_/garg_recipe.py'

model = dict(head=dict(type='FCNSkipHead'), loss=dict(type='GargLoss', smoothness=0.05))
