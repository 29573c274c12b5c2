"""The schedule of Garg et al. on KITTI: the real network first, then the binary one from it.

Each stage takes 60 000 iterations of Adam at a learning rate of 1e-3, a tenth of it from 30 000.
"""

_base_ = 'kitti.py'

train_cfg = dict(by_epoch=False, max_iters=60_000, val_interval=5_000)
optim_wrapper = dict(
    constructor='BinaryOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=1e-3, weight_decay=0.0),
    paramwise_cfg=dict(other=dict(lr_mult=0.01)),  # the head's factors, as in their solver
)
param_scheduler = dict(type='MultiStepLR', by_epoch=False, gamma=0.1, milestones=[30_000])
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5_000))
log_processor = dict(by_epoch=False)

stages = dict(
    real=dict(
        model=dict(backbone=dict(activation='clip', weights='real')),
        optim_wrapper=dict(optimizer=dict(weight_decay=1e-4)),
    ),
    binary=dict(model=dict(backbone=dict(activation='sign', weights='binary'))),
)
