"""The grid of Table 1 (tools/ablation.py), 24 cells and 3 seeds, in about 40 minutes on two cores with ``--jobs 2``.

Bi-Real-18, a quarter as wide and striding early, on 12 000 images of Fashion-MNIST, so that accuracies stay far from
saturated. Point to the four idx files with ``--cfg-options data_root=PATH``.
"""

_base_ = ['../_base_/runtime.py', '../_base_/small_images.py', '../_base_/recipe_basic.py']

data_root = 'data/fashion-mnist'
model = dict(
    data_preprocessor=dict(mean=(72.9,), std=(90.0,)),
    backbone=dict(in_channels=1, base_channels=16, strides=(2, 2, 2, 1)),
)
train_dataloader = dict(dataset=dict(type='FashionMNISTFiles', root=None, subset=12000, transform=dict(pad=2)))
val_dataloader = dict(dataset=dict(type='FashionMNISTFiles', root=None, subset=4000))
test_dataloader = dict(dataset=dict(type='FashionMNISTFiles', root=None, subset=4000))

# Validated at the end of a stage alone; hundreds of stages keep one checkpoint each.
train_cfg = dict(val_interval=1000)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None))

stages = dict(
    float=dict(
        train_cfg=dict(max_epochs=4),
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
        param_scheduler=dict(milestones=[3]),
    ),
    leaky_clip=dict(train_cfg=dict(max_epochs=2)),
    clip=dict(
        train_cfg=dict(max_epochs=3),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(milestones=[2]),
    ),
    binary=dict(
        train_cfg=dict(max_epochs=5),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(milestones=[4]),
    ),
)
