"""ABC-Net with 3 weight and 3 activation bases, kept at inference, so no stage absorbs scales."""

_base_ = '../bireal_r18_fashion_mnist.py'

model = dict(backbone=dict(structure='resnet', conv=dict(type='ABCConv2d', weight_bases=3, activation_bases=3)))
stages = dict(_delete_=True, **_base_.stages)
stages.pop('bn')
find_unused_parameters = True  # DDP: the real stages do not use the activation bases
