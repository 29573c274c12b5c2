"""Bi-Real-18 with ReActNet's learned shifts: RSign before every convolution, RPReLU after every addition."""

_base_ = '../bireal_r18_fashion_mnist.py'

model = dict(backbone=dict(rsign=True, rprelu=True))
optim_wrapper = dict(paramwise_cfg=dict(other=dict(decay_mult=0.0)))  # shifts and slopes do not decay
