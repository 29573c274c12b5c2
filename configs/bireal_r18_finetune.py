"""Bi-Real-18 of Imagenette on photographs of one's own: a few epochs of the binary stage, then BatchNorm alone.

Point to the folder that holds train/ and val/, a folder of images per class in each, with ``--cfg-options
data_root=PATH``. The number of classes is that of the folders; the classifier starts anew.
"""

_base_ = 'bireal_r18_imagenette.py'

data_root = 'data/photographs'
model = dict(num_classes=None)
train_dataloader = dict(batch_size=32, dataset=dict(names=None))
val_dataloader = dict(dataset=dict(names=None))
test_dataloader = dict(dataset=dict(names=None))

start = dict(type='Pretrained', checkpoint='zoo://bireal_r18_imagenette/training', prefix='backbone.', strict=True)
stages = dict(
    _delete_=True,
    binary=dict(
        model=dict(backbone=dict(activation='sign', weights='binary', init_cfg=start)),
        train_cfg=dict(max_epochs=10),
        optim_wrapper=dict(optimizer=dict(lr=0.01)),
        param_scheduler=dict(T_max=10),
    ),
    bn=dict(
        absorb_scales=True,
        model=dict(backbone=dict(activation='sign', weights='binary', weight='Sign')),
        train_cfg=dict(max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(lr=1e-4),
            paramwise_cfg={name: dict(lr_mult=0.0) for name in ('binary_conv', 'real_conv', 'linear', 'other')},
        ),
        param_scheduler=dict(T_max=1),
    ),
)
