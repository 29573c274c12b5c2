"""BinaryNet on ResNet's structure, binary from the first step on, for the epochs of all Bi-Real's stages together."""

_base_ = '../bireal_r18_imagenette.py'

model = dict(backbone=dict(structure='resnet', sign='STE', weight='Sign'))
stages = dict(
    _delete_=True,
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=44),
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
        param_scheduler=dict(T_max=44),
    ),
)
