"""Real network, then binary: some minutes each on one core."""

train_cfg = dict(by_epoch=True, val_interval=3)
optim_wrapper = dict(
    constructor='BinaryOptimWrapperConstructor', optimizer=dict(type='Adam', lr=1e-3, weight_decay=0.0)
)
param_scheduler = dict(type='MultiStepLR', gamma=0.1, milestones=[])

stages = dict(
    real=dict(
        model=dict(backbone=dict(activation='clip', weights='real')),
        train_cfg=dict(max_epochs=9),
        param_scheduler=dict(milestones=[7]),
    ),
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=9),
        param_scheduler=dict(milestones=[7]),
    ),
)
