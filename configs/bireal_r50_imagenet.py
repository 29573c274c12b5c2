"""Bi-Real-50 on ImageNet (paper: 62.6 / 83.9 %): 100 epochs per step, total batch 800 (8 x 100), lr 0.064."""

_base_ = ['_base_/runtime.py', '_base_/imagenet.py', '_base_/recipe_bottleneck.py']

model = dict(backbone=dict(depth=50))
train_dataloader = dict(batch_size=100, dataset=dict(transform=dict(shorter_side=(256, 480))))
auto_scale_lr = dict(base_batch_size=800)
stages = dict(
    float=dict(
        optim_wrapper=dict(optimizer=dict(lr=0.32)),
        param_scheduler=[  # from the learning rate of a batch of 256 (Goyal et al. 2017, 2.2)
            dict(type='LinearLR', start_factor=0.3125, end=5, convert_to_iter_based=True),
            dict(type='MultiStepLR', gamma=0.1, milestones=[30, 60]),
        ],
    ),
    leaky_clip=dict(optim_wrapper=dict(optimizer=dict(lr=0.032))),
    clip=dict(optim_wrapper=dict(optimizer=dict(lr=0.032))),
)
