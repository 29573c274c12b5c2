"""The modern way: Bi-Real-18 with a light U-Net decoder and the photometric loss, mirrored pairs."""

_base_ = 'bireal_r50_kitti.py'

model = dict(
    backbone=dict(depth=18),
    head=dict(_delete_=True, type='UNetHead'),
    loss=dict(_delete_=True, type='PhotometricLoss', consistency=1.0),
)
train_dataloader = dict(dataset=dict(flip=True))
