"""Bi-Real-20 (0.27 million weights) on CIFAR-10, for a GPU or a day of CPU: 281 epochs of 2.9 minutes on one core."""

_base_ = 'bireal_r18_cifar10.py'

model = dict(data_preprocessor=dict(channels_last=True), backbone=dict(depth=20, out_indices=(2,)))
