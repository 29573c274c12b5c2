"""XNOR-Net (paper's table: 63.1 / 83.6 %), binarized in one step as long as Bi-Real's two; alpha and K are kept."""

_base_ = '../bireal_r50_imagenet.py'

model = dict(backbone=dict(structure='resnet', conv='XNORConv2d'))
stages = dict(_delete_=True, **_base_.stages)
stages['binary'] = dict(stages['step2'], train_cfg=dict(max_epochs=200), param_scheduler=dict(milestones=[100, 150]))
for bi_reals_own in ('step1', 'step2', 'bn'):
    stages.pop(bi_reals_own)
