"""Some hundred real stereo pairs in KITTI's raw layout to learn from, and scenes of other places to be scored on.

Point to both folders of recordings with ``--cfg-options data_root=TRAIN val_dataloader.dataset.root=EVAL
test_dataloader.dataset.root=EVAL``. Images of 128 x 416 px, mirrored half of the time; the float and the binary stage
take 20 epochs each.
"""

_base_ = 'kitti.py'

model = dict(
    data_preprocessor=dict(channels_last=True),
    backbone=dict(depth=18, base_channels=32),
    head=dict(type='UNetHead', channels=(64, 32, 16), scales=2),
    loss=dict(type='PhotometricLoss'),
)
train_dataloader = dict(
    batch_size=6, num_workers=1, dataset=dict(split='all', size=(128, 416), flip=True), drop_last=True
)
val_dataloader = dict(
    num_workers=1, dataset=dict(root='data/roads/eval', split='all', size=(128, 416), truth='annotated')
)
test_dataloader = val_dataloader

train_cfg = dict(by_epoch=True, val_interval=5)
optim_wrapper = dict(
    constructor='BinaryOptimWrapperConstructor', optimizer=dict(type='Adam', lr=5e-4, weight_decay=0.0)
)
param_scheduler = dict(type='MultiStepLR', gamma=0.1, milestones=[16])

stages = dict(
    real=dict(model=dict(backbone=dict(activation='clip', weights='real')), train_cfg=dict(max_epochs=20)),
    binary=dict(model=dict(backbone=dict(activation='sign', weights='binary')), train_cfg=dict(max_epochs=20)),
)
