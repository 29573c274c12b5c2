"""Bi-Real-152 on ImageNet (paper: 64.5 / 85.5 %): 120 epochs per step, total batch 4000 (32 x 125), lr 0.1."""

_base_ = ['_base_/runtime.py', '_base_/imagenet.py', '_base_/recipe_bottleneck.py']

model = dict(backbone=dict(depth=152))
train_dataloader = dict(batch_size=125, dataset=dict(transform=dict(shorter_side=(256, 480))))
auto_scale_lr = dict(base_batch_size=4000)
stages = dict(
    float=dict(
        optim_wrapper=dict(optimizer=dict(lr=1.6)),
        param_scheduler=[  # from the learning rate of a batch of 256 (Goyal et al. 2017, 2.2)
            dict(type='LinearLR', start_factor=0.0625, end=5, convert_to_iter_based=True),
            dict(type='MultiStepLR', gamma=0.1, milestones=[30, 60]),
        ],
    ),
    leaky_clip=dict(optim_wrapper=dict(optimizer=dict(lr=0.16))),
    clip=dict(optim_wrapper=dict(optimizer=dict(lr=0.16))),
    step1=dict(
        train_cfg=dict(max_epochs=120),
        optim_wrapper=dict(optimizer=dict(lr=0.1)),
        param_scheduler=dict(milestones=[60, 90]),
    ),
    step2=dict(
        train_cfg=dict(max_epochs=120),
        optim_wrapper=dict(optimizer=dict(lr=0.1)),
        param_scheduler=dict(milestones=[60, 90]),
    ),
    bn=dict(optim_wrapper=dict(optimizer=dict(lr=1e-3))),
)
