"""XNOR-Net, binarized in one step as long as Bi-Real's two; alpha and K are kept at inference."""

_base_ = '../bireal_r152_imagenet.py'

model = dict(backbone=dict(structure='resnet', conv='XNORConv2d'))
stages = dict(_delete_=True, **_base_.stages)
stages['binary'] = dict(stages['step2'], train_cfg=dict(max_epochs=240), param_scheduler=dict(milestones=[120, 180]))
for bi_reals_own in ('step1', 'step2', 'bn'):
    stages.pop(bi_reals_own)
