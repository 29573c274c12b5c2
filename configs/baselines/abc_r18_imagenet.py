"""ABC-Net with 1 weight and 1 activation base (paper's table: 42.7 / 67.6 %); more bases by ``--cfg-options``.

python tools/train.py configs/baselines/abc_r18_imagenet.py --cfg-options model.backbone.conv.weight_bases=5
"""

_base_ = '../bireal_r18_imagenet.py'

model = dict(backbone=dict(structure='resnet', conv=dict(type='ABCConv2d', weight_bases=1, activation_bases=1)))
stages = dict(_delete_=True, **_base_.stages)
stages.pop('bn')
find_unused_parameters = True  # DDP: the real stages do not use the activation bases
