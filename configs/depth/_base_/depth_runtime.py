"""What every depth run shares: registration, hooks, and the metric it is judged by."""

_base_ = '../../_base_/runtime.py'

custom_imports = dict(imports=['bireal_plugin.depth'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(save_best='depth/delta1'), training_pairs=dict(type='TrainingPairsHook'))
val_evaluator = dict(_delete_=True, type='DepthMetric')
test_evaluator = dict(_delete_=True, type='DepthMetric')
