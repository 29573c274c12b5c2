"""Bi-Real-34 on ImageNet (paper: 62.2 / 83.9 %): 40 epochs, total batch 1024 (8 x 128), learning rate 0.08."""

_base_ = ['_base_/runtime.py', '_base_/imagenet.py', '_base_/recipe_basic.py']

model = dict(backbone=dict(depth=34))
auto_scale_lr = dict(base_batch_size=1024)
stages = dict(
    float=dict(
        optim_wrapper=dict(optimizer=dict(lr=0.4)),
        param_scheduler=[  # from the learning rate of a batch of 256 (Goyal et al. 2017, 2.2)
            dict(type='LinearLR', start_factor=0.25, end=5, convert_to_iter_based=True),
            dict(type='MultiStepLR', gamma=0.1, milestones=[30, 60]),
        ],
    ),
    leaky_clip=dict(optim_wrapper=dict(optimizer=dict(lr=0.04))),
    clip=dict(optim_wrapper=dict(optimizer=dict(lr=0.04))),
    binary=dict(
        train_cfg=dict(max_epochs=40),
        optim_wrapper=dict(optimizer=dict(lr=0.08)),
        param_scheduler=dict(milestones=[20, 30]),
    ),
    bn=dict(optim_wrapper=dict(optimizer=dict(lr=8e-4))),
)
