"""BinaryNet on ResNet's structure (paper's table: 8.9 / 21.0 %), binary from the first step on.

It trains for the epochs of all Bi-Real's stages together.
"""

_base_ = '../bireal_r152_imagenet.py'

warm_up = _base_.stages.float.param_scheduler[0]
model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
stages = dict(
    _delete_=True,
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=370),
        optim_wrapper=dict(optimizer=dict(lr=1.6)),
        param_scheduler=[warm_up, dict(type='MultiStepLR', gamma=0.1, milestones=[123, 247])],
    ),
)
