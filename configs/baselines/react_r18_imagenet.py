"""Bi-Real-18 with ReActNet's learned shifts (published on this backbone, with a teacher: 65.9 %)."""

_base_ = '../bireal_r18_imagenet.py'

model = dict(backbone=dict(rsign=True, rprelu=True))
optim_wrapper = dict(paramwise_cfg=dict(other=dict(decay_mult=0.0)))  # shifts and slopes do not decay
