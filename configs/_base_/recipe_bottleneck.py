"""The paper's recipe for bottleneck depths (50, 101, 152): as for basic depths, but binarized in two steps.

Step 1 binarizes all activations and the weights of 1x1 convolutions; step 2 the weights of 3x3 convolutions too.
"""

_base_ = 'recipe_real.py'

optim_wrapper = dict(optimizer=dict(lr=0.064))
stages = dict(
    step1=dict(
        model=dict(backbone=dict(activation='sign', weights='step1')),
        train_cfg=dict(max_epochs=100),
        param_scheduler=dict(milestones=[50, 75]),
    ),
    step2=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=100),
        param_scheduler=dict(milestones=[50, 75]),
    ),
    bn=dict(
        absorb_scales=True,
        model=dict(backbone=dict(activation='sign', weights='binary', weight='Sign')),
        train_cfg=dict(max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(lr=6.4e-4),
            # All but BatchNorm is held; ...paramwise_cfg.linear.lr_mult=1.0 trains the classifier too.
            paramwise_cfg={name: dict(lr_mult=0.0) for name in ('binary_conv', 'real_conv', 'linear', 'other')},
        ),
    ),
)
