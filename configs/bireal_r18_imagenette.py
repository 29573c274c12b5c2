"""Bi-Real-18, half as wide, on Imagenette (ten classes of ImageNet, 128 px): the recipe in about an hour on a core.

Point to the folder that holds train/ and val/ with ``--cfg-options data_root=PATH``.
"""

_base_ = ['_base_/runtime.py', '_base_/imagenette.py', '_base_/recipe_basic.py']

model = dict(backbone=dict(depth=18, base_channels=32))
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
