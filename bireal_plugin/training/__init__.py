"""Training with mmengine: chained stages, optimizer groups, safe checkpoints, metrics and hooks."""

from bireal_plugin.training.check import check_stages, stage_config
from bireal_plugin.training.checkpoint import PlainCheckpointHook, read_checkpoint, state_dict_of
from bireal_plugin.training.hooks import DivergenceHook, EpochSeedHook, StageRecordHook, ThroughputHook
from bireal_plugin.training.metric import TopKAccuracy
from bireal_plugin.training.optimizer import BinaryOptimWrapperConstructor
from bireal_plugin.training.plan_hooks import MagnitudeAwareHook, TwoStepBinarizationHook
from bireal_plugin.training.runner import BiRealRunner
from bireal_plugin.training.stages import run_stages
from bireal_plugin.training.table import stage_table

__all__ = [
    'BiRealRunner',
    'BinaryOptimWrapperConstructor',
    'DivergenceHook',
    'EpochSeedHook',
    'MagnitudeAwareHook',
    'PlainCheckpointHook',
    'StageRecordHook',
    'ThroughputHook',
    'TopKAccuracy',
    'TwoStepBinarizationHook',
    'check_stages',
    'read_checkpoint',
    'run_stages',
    'stage_config',
    'stage_table',
    'state_dict_of',
]
