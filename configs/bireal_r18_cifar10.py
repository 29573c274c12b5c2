"""Bi-Real-18 at full width on CIFAR-10, for a GPU. ``data_root`` holds cifar-10-batches-bin or cifar-10-batches-py."""

_base_ = ['_base_/runtime.py', '_base_/small_images.py', '_base_/recipe_basic.py']

data_root = 'data/cifar-10'
model = dict(data_preprocessor=dict(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7)))
train_dataloader = dict(num_workers=4, dataset=dict(type='CIFAR10Files', root=None))
val_dataloader = dict(dataset=dict(type='CIFAR10Files', root=None))
test_dataloader = dict(dataset=dict(type='CIFAR10Files', root=None))

stages = dict(
    float=dict(train_cfg=dict(max_epochs=120), param_scheduler=dict(milestones=[60, 90])),
    binary=dict(
        train_cfg=dict(max_epochs=120),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
        param_scheduler=dict(milestones=[60, 90]),
    ),
)
