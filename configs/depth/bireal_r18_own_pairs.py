"""Bi-Real-18 on rectified pairs of one's own rig, in two folders, without ground truth: real, then binary."""

_base_ = '_base_/few_pairs_recipe.py'

model = dict(backbone=dict(depth=18))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='StereoPairs',
        **dict(left=None, right=None, pairs=None, focal=None, baseline=None),
        size=(192, 320),
        flip=True,
    )
)
val_dataloader = test_dataloader = None
