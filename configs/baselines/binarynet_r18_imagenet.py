"""BinaryNet on ResNet's structure (paper's table: 42.2 / 67.1 %), binary from the first step on.

It trains for the epochs of all Bi-Real's stages together.
"""

_base_ = '../bireal_r18_imagenet.py'

model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
stages = dict(
    _delete_=True,
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=150),
        optim_wrapper=dict(optimizer=dict(lr=0.1)),
        param_scheduler=dict(milestones=[50, 100]),
    ),
)
