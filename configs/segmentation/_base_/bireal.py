"""Bi-Real in a segmentation network: what is added to mmseg's own configs of ResNet-18 and 80 000 iterations."""

custom_imports = dict(imports=['bireal_plugin'], allow_failed_imports=False)

# mmseg's ResNetV1c, which this stands for, is ResNet with a deep stem. The output stride of 8 is the base's.
bireal_backbone = dict(type='BiRealResNet', deep_stem=True)

custom_hooks = [
    # A real ResNet's weights meet Bi-Real's shortcuts and clips, then signs while the learning rate is still high. The
    # last part retrains BatchNorm alone, around weights of exactly +-1; real convolutions rest then, too.
    dict(
        type='TwoStepBinarizationHook',
        by_epoch=False,
        activations=dict(clip=0),
        step1=20_000,
        step2=32_000,
        bn=76_000,
    ),
    dict(type='DivergenceHook'),
]
