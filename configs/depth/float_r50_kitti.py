"""The full-precision column: the real network with ReLU, 60 000 iterations, no second stage."""

_base_ = 'bireal_r50_kitti.py'

stages = dict(_delete_=True, real=dict(model=dict(backbone=dict(activation='relu', weights='real'))))
