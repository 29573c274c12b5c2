"""Deeper is not worse (Table 4): Bi-Real-18 and 34 at equal budget, in a few minutes."""

_base_ = ['../_base_/recipe_basic.py', '_base_/narrow_digits.py']

train_cfg = dict(val_interval=1000)
optim_wrapper = dict(optimizer=dict(lr=0.02))
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
    binary=dict(train_cfg=dict(max_epochs=8), param_scheduler=dict(milestones=[5, 7])),
)

variants = {'18_layers': {}, '34_layers': {'model.backbone.depth': 34}}
claims = [dict(text='34 layers > 18', better='34_layers', worse='18_layers', paper='+5.8')]
