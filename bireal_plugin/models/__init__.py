"""Bi-Real networks: blocks, the backbone, a classifier, the timm entry points, and `binarize` for other ResNets."""

from bireal_plugin.models import timm_models
from bireal_plugin.models.classifier import BiRealClassifier, ImagePreprocessor
from bireal_plugin.models.distill import DistilledClassifier
from bireal_plugin.models.from_resnet.binarize import BiRealConfig, binarize
from bireal_plugin.models.resnet import BiRealResNet

__all__ = ['BiRealClassifier', 'BiRealResNet', 'DistilledClassifier', 'ImagePreprocessor']
__all__ += ['BiRealConfig', 'binarize', 'timm_models']
