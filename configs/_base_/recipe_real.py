"""The real stages with which the paper's recipes begin: ReLU, leaky clip, clip. Weight decay is ResNet's.

The schedule is the ImageNet one; smaller data sets override epochs and learning rates.
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
)
