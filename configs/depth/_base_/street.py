"""The rendered street, which needs no download: 96 x 320 pairs, judged by their exact depth on the whole image.

Real network, then binary: some minutes each on one core.
"""

_base_ = 'depth_runtime.py'

model = dict(
    type='DepthNetwork',
    data_preprocessor=dict(type='StereoPreprocessor'),
    backbone=dict(type='BiRealResNet', depth=18, base_channels=32),
    head=dict(type='UNetHead', channels=(64, 32, 16), scales=2),
    loss=dict(type='PhotometricLoss'),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(type='StreetPairs', split='train', length=400, size=(96, 320), flip=True),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(type='StreetPairs', split='test', length=64, size=(96, 320)),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader
val_evaluator = dict(crop='none')
test_evaluator = dict(crop='none')

train_cfg = dict(by_epoch=True, val_interval=3)
optim_wrapper = dict(
    constructor='BinaryOptimWrapperConstructor', optimizer=dict(type='Adam', lr=1e-3, weight_decay=0.0)
)
param_scheduler = dict(type='MultiStepLR', gamma=0.1, milestones=[])

stages = dict(
    real=dict(
        model=dict(backbone=dict(activation='clip', weights='real')),
        train_cfg=dict(max_epochs=9),
        param_scheduler=dict(milestones=[7]),
    ),
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary')),
        train_cfg=dict(max_epochs=9),
        param_scheduler=dict(milestones=[7]),
    ),
)
