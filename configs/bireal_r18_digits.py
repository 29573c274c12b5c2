"""Bi-Real-18, a quarter as wide, on scikit-learn's handwritten digits: every stage in about a minute, no download."""

_base_ = ['_base_/runtime.py', '_base_/small_images.py', '_base_/recipe_basic.py']

model = dict(data_preprocessor=dict(mean=(78.0,), std=(96.0,)), backbone=dict(in_channels=1, base_channels=16))
train_dataloader = dict(batch_size=64, dataset=dict(type='Digits', size=32, transform=dict(pad=2, flip=False)))
val_dataloader = dict(dataset=dict(type='Digits', size=32))
test_dataloader = dict(dataset=dict(type='Digits', size=32))

stages = dict(
    float=dict(
        train_cfg=dict(max_epochs=6),
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
        param_scheduler=dict(milestones=[4, 5]),
    ),
    leaky_clip=dict(train_cfg=dict(max_epochs=2), param_scheduler=dict(milestones=[1])),
    clip=dict(
        train_cfg=dict(max_epochs=4),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(milestones=[3]),
    ),
    binary=dict(
        train_cfg=dict(max_epochs=12),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(milestones=[7, 10]),
    ),
)
