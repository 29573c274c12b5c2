"""The paper's recipe for bottleneck depths (50, 101, 152): as for basic depths, but binarized in two steps.

Step 1 binarizes all activations and the weights of 1x1 convolutions; step 2 the weights of 3x3 convolutions too.
"""

train_cfg = dict(by_epoch=True)
optim_wrapper = dict(
    constructor='BinaryOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.064, momentum=0.9, weight_decay=0.0),
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
    step1=dict(
        model=dict(backbone=dict(activation='sign', weights='step1')),
        train_cfg=dict(max_epochs=100),
        param_scheduler=dict(milestones=[50, 75]),
    ),
    step2=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=100),
        param_scheduler=dict(milestones=[50, 75]),
    ),
    bn=dict(
        absorb_scales=True,
        model=dict(backbone=dict(activation='sign', weights='binary', weight='Sign')),
        train_cfg=dict(max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(lr=6.4e-4),
            paramwise_cfg=dict(binary_conv=dict(lr_mult=0.0), real_conv=dict(lr_mult=0.0)),
        ),
    ),
)
