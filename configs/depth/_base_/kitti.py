"""KITTI raw as everyone has it, Garg's split of it, 160 x 608 pairs in batches of 10, no augmentation.

Point to the folder of dates with ``--cfg-options data_root=PATH``; ``root=None`` in a dataset means data_root.
"""

_base_ = 'depth_runtime.py'

data_root = 'data/kitti/raw'

model = dict(
    type='DepthNetwork',
    data_preprocessor=dict(type='StereoPreprocessor'),
    backbone=dict(type='BiRealResNet', depth=50),
)
train_dataloader = dict(
    batch_size=10,
    num_workers=8,
    dataset=dict(type='StereoPairs', root=None, split='train', size=(160, 608)),
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
# Ground truth has the size of its image, which differs from date to date.
val_dataloader = dict(
    batch_size=1,
    num_workers=8,
    dataset=dict(type='StereoPairs', root=None, split='test', size=(160, 608), truth='lidar'),
    sampler=dict(type='EpochSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader
