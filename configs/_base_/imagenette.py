"""Imagenette: ten classes of ImageNet, data_root/{train,val}/<wnid>/*.JPEG of 128 px or more; networks see 112 px.

Point to it with ``--cfg-options data_root=PATH``.
"""

_base_ = 'imagenet.py'

data_root = 'data/imagenette'
names = dict(
    n01440764='tench',
    n02102040='English springer',
    n02979186='cassette player',
    n03000684='chain saw',
    n03028079='church',
    n03394916='French horn',
    n03417042='garbage truck',
    n03425413='gas pump',
    n03445777='golf ball',
    n03888257='parachute',
)

model = dict(data_preprocessor=dict(channels_last=True), num_classes=10)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(names=names, transform=dict(shorter_side=(112, 160), crop=112)),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(names=names, transform=dict(shorter_side=128, crop=112)),
)
test_dataloader = val_dataloader
