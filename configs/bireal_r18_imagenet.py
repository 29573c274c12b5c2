"""Bi-Real-18 on ImageNet (paper: 56.4 / 79.5 % top-1 / top-5): 20 epochs, batch 128, learning rate 0.01."""

_base_ = ['_base_/runtime.py', '_base_/imagenet.py', '_base_/recipe_basic.py']

model = dict(backbone=dict(depth=18))
auto_scale_lr = dict(base_batch_size=128)
