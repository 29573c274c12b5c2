"""The paper's recipe for basic depths (18, 34): real network, leaky clip, clip, binary, BatchNorm.

Weight decay is ResNet's while the network is real and 0 once it is binary. The schedule is the ImageNet one; smaller
data sets override epochs and learning rates.
"""

train_cfg = dict(by_epoch=True)
optim_wrapper = dict(
    constructor='BinaryOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0),
)
param_scheduler = dict(type='MultiStepLR', gamma=0.1, milestones=[])

stages = dict(
    float=dict(
        model=dict(backbone=dict(activation='relu', weights='real')),
        train_cfg=dict(max_epochs=90),
        optim_wrapper=dict(optimizer=dict(lr=0.1, weight_decay=1e-4)),
        param_scheduler=dict(milestones=[30, 60]),
    ),
    leaky_clip=dict(
        model=dict(backbone=dict(activation='leaky_clip', weights='real')),
        train_cfg=dict(max_epochs=20),
        optim_wrapper=dict(optimizer=dict(lr=0.01, weight_decay=1e-4)),
        param_scheduler=dict(milestones=[10, 15]),
    ),
    clip=dict(
        model=dict(backbone=dict(activation='clip', weights='real')),
        train_cfg=dict(max_epochs=20),
        optim_wrapper=dict(optimizer=dict(lr=0.01, weight_decay=1e-4)),
        param_scheduler=dict(milestones=[10, 15]),
    ),
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=20),
        param_scheduler=dict(milestones=[10, 15]),
    ),
    bn=dict(
        absorb_scales=True,
        model=dict(backbone=dict(activation='sign', weights='binary', weight='Sign')),
        train_cfg=dict(max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(lr=1e-4),
            paramwise_cfg=dict(binary_conv=dict(lr_mult=0.0), real_conv=dict(lr_mult=0.0)),
        ),
    ),
)
