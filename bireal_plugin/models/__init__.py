"""Bi-Real networks: blocks, the backbone, a classifier, the timm entry points, and `binarize` for other ResNets."""

from mmengine.registry import MODELS

from bireal_plugin.models import timm_models
from bireal_plugin.models.classifier import BiRealClassifier, ImagePreprocessor
from bireal_plugin.models.distill import DistilledClassifier
from bireal_plugin.models.from_resnet.binarize import BiRealConfig, binarize
from bireal_plugin.models.imagenet_teacher import EfficientNetLite0
from bireal_plugin.models.resnet import BiRealResNet
from bireal_plugin.models.resnet_cifar import BiRealResNet_CIFAR
from bireal_plugin.registry import BINARY_CONVOLUTIONS, SURROGATES, WEIGHT_BINARIZERS

for table in (BINARY_CONVOLUTIONS, SURROGATES, WEIGHT_BINARIZERS):  # as conv_cfg=dict(type='BinaryConv2d') asks for
    table.show_in(MODELS)

__all__ = ['BiRealClassifier', 'BiRealResNet', 'BiRealResNet_CIFAR', 'DistilledClassifier', 'EfficientNetLite0']
__all__ += ['BiRealConfig', 'ImagePreprocessor', 'binarize', 'timm_models']
