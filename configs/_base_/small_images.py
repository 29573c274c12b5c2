"""Frame for small images (28 to 32 pixels): 3x3 stem without pooling, shifts and flips for training.

A config fills in the dataset's type and what belongs to it.
"""

data_root = None

model = dict(
    type='BiRealClassifier',
    data_preprocessor=dict(type='ImagePreprocessor'),
    backbone=dict(type='BiRealResNet', depth=18, stem='cifar', out_indices=(3,)),
    num_classes=10,
)
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    dataset=dict(split='train', transform=dict(type='PadCropFlip', pad=4, flip=True)),
    sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    dataset=dict(split='test'),
    sampler=dict(type='EpochSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_dataloader = val_dataloader
