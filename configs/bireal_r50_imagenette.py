"""Bi-Real-50, a quarter as wide, on Imagenette, binarized in two steps (the paper's 3.4.4).

Point to the folder that holds train/ and val/ with ``--cfg-options data_root=PATH``.
"""

_base_ = ['_base_/runtime.py', '_base_/imagenette.py', '_base_/recipe_bottleneck.py']

model = dict(backbone=dict(depth=50, base_channels=16))
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
    step1=dict(
        train_cfg=dict(max_epochs=10),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(_delete_=True, T_max=10),
    ),
    step2=dict(
        train_cfg=dict(max_epochs=10),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(_delete_=True, T_max=10),
    ),
    bn=dict(param_scheduler=dict(T_max=1)),
)
