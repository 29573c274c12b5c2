"""The same with a 1-bit stage that learns from a real network of 34 layers, which is to be trained first.

python tools/train.py configs/bireal_r34_imagenet.py --stage float
python tools/train.py configs/baselines/react_distilled_r18_imagenet.py
"""

_base_ = 'react_r18_imagenet.py'

stages = dict(
    binary=dict(
        model=dict(
            type='DistilledClassifier',
            teacher=dict(
                type='BiRealClassifier',
                backbone=dict(type='BiRealResNet', depth=34, activation='relu', weights='real'),
                num_classes=1000,
            ),
            teacher_checkpoint='work_dirs/bireal_r34_imagenet/float/epoch_90.pth',
        ),
    ),
)
