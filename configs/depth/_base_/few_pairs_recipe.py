"""For a handful of pairs of one's own, half as wide and at 128 x 416: 40 epochs a stage, minutes on one core.

It fits these pairs and generalises to nothing. All pairs of ``data_root`` are trained on; those with a laser scan are
scored.
"""

_base_ = 'kitti.py'

model = dict(
    backbone=dict(base_channels=32),
    head=dict(type='UNetHead', channels=(64, 32, 16), scales=2),
    loss=dict(type='PhotometricLoss', smoothness=0.01),
)
train_dataloader = dict(batch_size=3, num_workers=0, dataset=dict(split='all', size=(128, 416)))
val_dataloader = dict(num_workers=0, dataset=dict(split='all', size=(128, 416)))
test_dataloader = val_dataloader

train_cfg = dict(by_epoch=True, val_interval=10)
optim_wrapper = dict(
    constructor='BinaryOptimWrapperConstructor', optimizer=dict(type='Adam', lr=5e-4, weight_decay=0.0)
)
param_scheduler = dict(type='MultiStepLR', gamma=0.1, milestones=[32])

stages = dict(
    real=dict(model=dict(backbone=dict(activation='clip', weights='real')), train_cfg=dict(max_epochs=40)),
    binary=dict(model=dict(backbone=dict(activation='sign', weights='binary')), train_cfg=dict(max_epochs=40)),
)
