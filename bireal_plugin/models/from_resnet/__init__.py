"""Turning an existing ResNet of any library into its Bi-Real twin: ``binarize(model)``.

``anatomy`` reads a block, ``trunk`` finds the network, ``blocks`` are the twins, ``conversion`` puts them in and
``report`` tells.
"""

from bireal_plugin.models.from_resnet.binarize import BiRealConfig, binarize
from bireal_plugin.models.from_resnet.report import ConversionReport

__all__ = ['BiRealConfig', 'ConversionReport', 'binarize']
