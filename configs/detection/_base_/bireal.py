"""Bi-Real in a detector: what is added to mmdet's own 1x configs (12 epochs, learning rate / 10 after 8 and 11)."""

custom_imports = dict(imports=['bireal_plugin'], allow_failed_imports=False)

# Detectors keep a backbone's first stage and BatchNorm frozen. Here nothing is frozen: both belong to the real network,
# and behind a sign statistics are others. SyncBN, because two images per GPU are few for new ones.
bireal_backbone = dict(
    type='BiRealResNet', frozen_stages=-1, norm_eval=False, norm_cfg=dict(type='SyncBN', requires_grad=True)
)

custom_hooks = [
    # A real ResNet's weights meet Bi-Real's shortcuts and clips, then signs while the learning rate is still high. The
    # last epoch retrains BatchNorm alone, around weights of exactly +-1; real convolutions rest then, too.
    dict(type='TwoStepBinarizationHook', activations=dict(clip=0), step1=3, step2=5, bn=11),
    dict(type='DivergenceHook'),
]
