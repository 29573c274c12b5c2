"""The same with a 1-bit stage that learns from the labels and from its own real network, which is to be trained first.

bireal train bireal_r18_imagenette --stage float
bireal train bireal_r18_imagenette_distilled
"""

_base_ = 'bireal_r18_imagenette.py'

stages = dict(
    binary=dict(
        model=dict(
            type='DistilledClassifier',
            label_weight=0.5,
            teacher=dict(
                type='BiRealClassifier',
                backbone=dict(
                    type='BiRealResNet',
                    depth=18,
                    base_channels=32,
                    out_indices=(3,),
                    activation='relu',
                    weights='real',
                ),
                num_classes=10,
            ),
            teacher_checkpoint='work_dirs/bireal_r18_imagenette/float/epoch_16.pth',
        ),
    ),
)
