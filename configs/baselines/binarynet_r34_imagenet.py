"""BinaryNet on ResNet's structure, binary from the first step on.

It trains for the epochs of all Bi-Real's stages together.
"""

_base_ = '../bireal_r34_imagenet.py'

warm_up = _base_.stages.float.param_scheduler[0]
model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
stages = dict(
    _delete_=True,
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=170),
        optim_wrapper=dict(optimizer=dict(lr=0.4)),
        param_scheduler=[warm_up, dict(type='MultiStepLR', gamma=0.1, milestones=[57, 113])],
    ),
)
