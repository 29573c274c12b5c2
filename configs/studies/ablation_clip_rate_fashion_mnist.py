"""The grid of ``ablation_fashion_mnist`` with clip stages as fast as the float stage, each decayed before its end."""

_base_ = 'ablation_fashion_mnist.py'

stages = dict(
    leaky_clip=dict(optim_wrapper=dict(optimizer=dict(lr=0.05)), param_scheduler=dict(milestones=[1])),
    clip=dict(optim_wrapper=dict(optimizer=dict(lr=0.05))),
)
