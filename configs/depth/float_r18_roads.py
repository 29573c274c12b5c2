"""The full-precision network on the same pairs: it trains on where the others are binarized."""

_base_ = 'bireal_r18_roads.py'

model = dict(backbone=dict(activation='relu', weights='real'))
stages = dict(_delete_=True, real=dict(train_cfg=dict(max_epochs=20)), longer=dict(train_cfg=dict(max_epochs=20)))
