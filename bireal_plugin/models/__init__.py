"""Bi-Real networks: blocks, the backbone, a classifier and the timm entry points."""

from bireal_plugin.models import timm_models
from bireal_plugin.models.blocks import BasicBlock, Bottleneck
from bireal_plugin.models.classifier import BiRealClassifier, ImagePreprocessor
from bireal_plugin.models.distill import DistilledClassifier
from bireal_plugin.models.resnet import BiRealResNet

__all__ = [
    'BasicBlock',
    'BiRealClassifier',
    'BiRealResNet',
    'Bottleneck',
    'DistilledClassifier',
    'ImagePreprocessor',
    'timm_models',
]
