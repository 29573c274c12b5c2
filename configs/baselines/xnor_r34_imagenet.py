"""XNOR-Net: alpha and K are kept at inference, so no stage absorbs scales."""

_base_ = '../bireal_r34_imagenet.py'

model = dict(backbone=dict(structure='resnet', conv='XNORConv2d'))
stages = dict(_delete_=True, **_base_.stages)
stages.pop('bn')
