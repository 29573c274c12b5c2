"""Faster R-CNN with a Bi-Real-50 backbone."""

_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', '_base_/bireal.py']

model = dict(backbone=_base_.bireal_backbone)
optim_wrapper = dict(constructor='BinaryOptimWrapperConstructor')
