"""What every run shares: registration, logging, checkpoints, seeds."""

custom_imports = dict(imports=['bireal_plugin'], allow_failed_imports=False)
default_scope = 'mmengine'

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    # Two are kept, so that one is whole at any moment; the best one is kept beside them.
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'),
)
custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='ThroughputHook'),
    dict(type='DivergenceHook'),
    dict(type='SyncBuffersHook'),
]
tensorboard = True  # curves for TensorBoard too, where its package is installed
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(window_size=50)
env_cfg = dict(dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)

val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='TopKAccuracy', topk=(1, 5))
test_evaluator = dict(type='TopKAccuracy', topk=(1, 5))
