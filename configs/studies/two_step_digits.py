"""Two-step against one-step binarization of a narrow Bi-Real-50 (Sec. 3.4.4): the same real network, equal epochs."""

_base_ = ['../_base_/recipe_bottleneck.py', '_base_/narrow_digits.py']

model = dict(backbone=dict(depth=50))
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
    step1=dict(train_cfg=dict(max_epochs=6), param_scheduler=dict(milestones=[4, 5])),
    step2=dict(train_cfg=dict(max_epochs=6), param_scheduler=dict(milestones=[4, 5])),
)

variants = {
    'two_steps': {},
    'one_step': {
        'leave_out': ['step1'],
        'stages.step2.train_cfg.max_epochs': 12,
        'stages.step2.param_scheduler.milestones': [8, 10],
    },
}
claims = [dict(text='two steps > one', better='two_steps', worse='one_step')]
