"""Bi-Real-18, half as wide and striding early, on Fashion-MNIST: the whole recipe in about 24 minutes on two cores.

Point to the four idx files with ``--cfg-options data_root=PATH``.
"""

_base_ = ['_base_/runtime.py', '_base_/small_images.py', '_base_/recipe_basic.py']

data_root = 'data/fashion-mnist'
model = dict(
    data_preprocessor=dict(mean=(72.9,), std=(90.0,)),
    backbone=dict(in_channels=1, base_channels=32, strides=(2, 2, 2, 1)),
)
train_dataloader = dict(dataset=dict(type='FashionMNISTFiles', root=None, transform=dict(pad=2)))
val_dataloader = dict(dataset=dict(type='FashionMNISTFiles', root=None))
test_dataloader = dict(dataset=dict(type='FashionMNISTFiles', root=None))

stages = dict(
    float=dict(
        train_cfg=dict(max_epochs=5),
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
        param_scheduler=dict(milestones=[3, 4]),
    ),
    leaky_clip=dict(train_cfg=dict(max_epochs=1)),
    clip=dict(
        train_cfg=dict(max_epochs=3),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(milestones=[2]),
    ),
    binary=dict(
        train_cfg=dict(max_epochs=8),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(milestones=[5, 7]),
    ),
)
