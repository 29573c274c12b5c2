"""Frame of the studies on handwritten digits: networks so narrow, striding early, that accuracies differ."""

_base_ = ['../../_base_/runtime.py', '../../_base_/small_images.py']

model = dict(
    data_preprocessor=dict(mean=(78.0,), std=(96.0,)),
    backbone=dict(in_channels=1, base_channels=8, strides=(2, 2, 2, 1)),
)
train_dataloader = dict(batch_size=64, dataset=dict(type='Digits', size=32, transform=dict(pad=2, flip=False)))
val_dataloader = dict(dataset=dict(type='Digits', size=32))
test_dataloader = dict(dataset=dict(type='Digits', size=32))

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None))
