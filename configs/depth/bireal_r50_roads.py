"""Bi-Real-50, half as wide, with Garg's head, on some hundred real pairs: real, then binary."""

_base_ = '_base_/roads.py'

model = dict(
    backbone=dict(depth=50, base_channels=32),
    head=dict(_delete_=True, type='FCNSkipHead'),
)
optim_wrapper = dict(paramwise_cfg=dict(other=dict(lr_mult=0.01)))  # the head's factors, as in Garg et al.
