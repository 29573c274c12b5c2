"""Training with mmengine: chained stages, optimizer groups, safe checkpoints, metrics and hooks.

Importing this package registers its Runner, hooks and optimizer constructor.
"""
# ruff: noqa: F401

from bireal_plugin.training.hooks.magnitude import MagnitudeAwareHook
from bireal_plugin.training.hooks.plain_checkpoint import PlainCheckpointHook
from bireal_plugin.training.hooks.precise_norm import PreciseBNHook
from bireal_plugin.training.hooks.stage import DivergenceHook, EpochSeedHook, StageRecordHook, ThroughputHook
from bireal_plugin.training.hooks.two_step import TwoStepBinarizationHook
from bireal_plugin.training.optimizer import BinaryOptimWrapperConstructor
from bireal_plugin.training.recipe import check_stages, stage_config
from bireal_plugin.training.runner import BiRealRunner
from bireal_plugin.training.stages import run_stages
