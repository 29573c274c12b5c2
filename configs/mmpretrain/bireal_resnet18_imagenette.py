"""Bi-Real-18, half as wide, on Imagenette (ten classes of ImageNet) as a classifier of mmpretrain.

The network is that of ``bireal_r18_imagenette.py``, and so are the weights; model, data, schedule and runtime are
mmpretrain's own. Trained from the start it becomes binary in one run, by the hook.
"""

_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'

custom_imports = dict(imports=['bireal_plugin'], allow_failed_imports=False)

model = dict(
    backbone=dict(_delete_=True, type='BiRealResNet', depth=18, base_channels=32, out_indices=(3,)),
    head=dict(num_classes=10, in_channels=256),
)
data_preprocessor = dict(num_classes=10)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=112, crop_ratio_range=(0.35, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=128, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=112),
    dict(type='PackInputs'),
]
photographs = dict(
    data_root='data/imagenette',
    classes=[
        *('tench', 'English springer', 'cassette player', 'chain saw', 'church'),
        *('French horn', 'garbage truck', 'gas pump', 'golf ball', 'parachute'),
    ],
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **photographs))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **photographs))
test_dataloader = val_dataloader

optim_wrapper = dict(constructor='BinaryOptimWrapperConstructor')
custom_hooks = [
    dict(type='TwoStepBinarizationHook', activations=dict(clip=0), step1=20, step2=40, bn=99),
    dict(type='DivergenceHook'),
]
