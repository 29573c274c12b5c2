"""The same with a 1-bit stage that learns from the labels and from an ImageNet classifier: the extra ``teacher``."""

_base_ = 'bireal_r18_imagenette.py'

stages = dict(
    binary=dict(
        model=dict(
            type='DistilledClassifier',
            label_weight=0.5,
            # the ten classes among ImageNet's, in the order of their WordNet ids
            teacher=dict(
                type='EfficientNetLite0',
                classes=(0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
                size=160,
            ),
        ),
    ),
)
