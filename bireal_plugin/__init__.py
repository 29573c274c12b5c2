"""Bi-Real Net for timm and OpenMMLab: 1-bit convolutions, backbones, training recipe.

Importing this package registers everything in mmengine's root registries and in timm; an OpenMMLab config needs only
``custom_imports = dict(imports=['bireal_plugin'])``. It needs neither mmcv nor mmdet.
"""

from bireal_plugin import binary, data, models, training
from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.file import load_packed as load
from bireal_plugin.export.packed.inspection import inspect_packed as inspect
from bireal_plugin.models import BiRealClassifier, BiRealConfig, BiRealResNet, binarize
from bireal_plugin.version import __version__

__all__ = [
    'BiRealClassifier',
    'BiRealConfig',
    'BiRealResNet',
    'BinaryConv2d',
    'InputError',
    '__version__',
    'binarize',
    'binary',
    'data',
    'inspect',
    'load',
    'models',
    'training',
]
