"""The paper's recipe for basic depths (18, 34): real network, leaky clip, clip, binary, BatchNorm.

Weight decay is 0 once the network is binary.
"""

_base_ = 'recipe_real.py'

stages = dict(
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=20),
        param_scheduler=dict(milestones=[10, 15]),
    ),
    bn=dict(
        absorb_scales=True,
        model=dict(backbone=dict(activation='sign', weights='binary', weight='Sign')),
        train_cfg=dict(max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(lr=1e-4),
            # All but BatchNorm is held; ...paramwise_cfg.linear.lr_mult=1.0 trains the classifier too.
            paramwise_cfg={name: dict(lr_mult=0.0) for name in ('binary_conv', 'real_conv', 'linear', 'other')},
        ),
    ),
)
