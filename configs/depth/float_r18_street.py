"""The full-precision twin under the same budget: in the place of the binary stage the real network trains on."""

_base_ = 'bireal_r18_street.py'

model = dict(backbone=dict(activation='relu', weights='real'))
stages = dict(
    _delete_=True,
    real=dict(train_cfg={{_base_.stages.real.train_cfg}}, param_scheduler={{_base_.stages.real.param_scheduler}}),
    longer=dict(train_cfg={{_base_.stages.binary.train_cfg}}, param_scheduler={{_base_.stages.binary.param_scheduler}}),
)
