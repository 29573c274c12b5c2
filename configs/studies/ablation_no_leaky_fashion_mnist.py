"""The grid of ``ablation_fashion_mnist`` without the leaky clip: its epochs are the clip's, which follows the ReLU."""

_base_ = 'ablation_fashion_mnist.py'

stages = dict(_delete_=True, **_base_.stages)
stages.pop('leaky_clip')
stages['clip'].update(train_cfg=dict(max_epochs=5), param_scheduler=dict(milestones=[4]))
