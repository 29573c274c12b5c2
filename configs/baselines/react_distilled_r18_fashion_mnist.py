"""The same with a 1-bit stage that learns from a real network, which is to be trained first.

python tools/train.py configs/bireal_r18_fashion_mnist.py --stage float
python tools/train.py configs/baselines/react_distilled_r18_fashion_mnist.py
"""

_base_ = 'react_r18_fashion_mnist.py'

stages = dict(
    binary=dict(
        model=dict(
            type='DistilledClassifier',
            teacher=dict(
                type='BiRealClassifier',
                backbone=dict(
                    type='BiRealResNet',
                    depth=18,
                    in_channels=1,
                    base_channels=32,
                    strides=(2, 2, 2, 1),
                    stem='cifar',
                    activation='relu',
                    weights='real',
                ),
                num_classes=10,
            ),
            teacher_checkpoint='work_dirs/bireal_r18_fashion_mnist/float/epoch_5.pth',
        ),
    ),
)
