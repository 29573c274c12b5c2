"""FCOS with a Bi-Real-50 backbone: torchvision's weights and image statistics in the place of Caffe's."""

_base_ = ['mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', '_base_/bireal.py']

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(style='pytorch', init_cfg=dict(checkpoint='torchvision://resnet50'), **_base_.bireal_backbone),
)
# The base's paramwise_cfg is one of mmengine's constructor.
optim_wrapper = dict(constructor='BinaryOptimWrapperConstructor', paramwise_cfg=None)
