"""ImageNet as everyone has it: data_root/{train,val}/<wnid>/*.JPEG, with the paper's transforms for 18 and 34 layers.

Point to it with ``--cfg-options data_root=PATH``; ``root=None`` in a dataset means data_root.
"""

data_root = 'data/imagenet'

model = dict(
    type='BiRealClassifier',
    data_preprocessor=dict(type='ImagePreprocessor', mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    backbone=dict(type='BiRealResNet', out_indices=(3,)),
    num_classes=1000,
)
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(
        type='ImageNetFolder',
        root=None,
        split='train',
        transform=dict(type='ShorterSideCropFlip', shorter_side=256, crop=224),
    ),
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=8,
    dataset=dict(
        type='ImageNetFolder',
        root=None,
        split='val',
        transform=dict(type='ShorterSideCenterCrop', shorter_side=256, crop=224),
    ),
    sampler=dict(type='EpochSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader
