"""Bi-Real-18, half as wide, on Imagenette (ten classes of ImageNet, 128 px): the recipe in about 40 minutes on a core.

Point to the folder that holds train/ and val/ with ``--cfg-options data_root=PATH``.
"""

_base_ = ['_base_/runtime.py', '_base_/imagenet.py', '_base_/recipe_basic.py']

data_root = 'data/imagenette'
names = dict(
    n01440764='tench',
    n02102040='English springer',
    n02979186='cassette player',
    n03000684='chain saw',
    n03028079='church',
    n03394916='French horn',
    n03417042='garbage truck',
    n03425413='gas pump',
    n03445777='golf ball',
    n03888257='parachute',
)

model = dict(data_preprocessor=dict(channels_last=True), backbone=dict(depth=18, base_channels=32), num_classes=10)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(names=names, transform=dict(shorter_side=(112, 160), crop=112)),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(names=names, transform=dict(shorter_side=128, crop=112)),
)
test_dataloader = val_dataloader

param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', convert_to_iter_based=True)
stages = dict(
    float=dict(
        train_cfg=dict(max_epochs=16),
        optim_wrapper=dict(optimizer=dict(lr=0.05, weight_decay=5e-4)),
        param_scheduler=dict(_delete_=True, T_max=16),
    ),
    leaky_clip=dict(
        train_cfg=dict(max_epochs=2),
        optim_wrapper=dict(optimizer=dict(lr=0.02, weight_decay=5e-4)),
        param_scheduler=dict(_delete_=True, T_max=2),
    ),
    clip=dict(
        train_cfg=dict(max_epochs=6),
        optim_wrapper=dict(optimizer=dict(lr=0.02, weight_decay=5e-4)),
        param_scheduler=dict(_delete_=True, T_max=6),
    ),
    binary=dict(
        train_cfg=dict(max_epochs=20),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(_delete_=True, T_max=20),
    ),
    bn=dict(param_scheduler=dict(T_max=1)),
)
