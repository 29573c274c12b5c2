"""Normalisation layers from OpenMMLab's ``norm_cfg``, without needing mmcv for the common ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.models.blocks import Norm

TORCH_NORMS = {'BN': nn.BatchNorm2d, 'BN2d': nn.BatchNorm2d, 'SyncBN': nn.SyncBatchNorm}


def norm_factory(config: Mapping[str, Any]) -> Norm:
    """A function from a number of channels to the layer of ``dict(type='BN'|'SyncBN'|'GN'|..., requires_grad=True)``.

    Raises:
        InputError: ``type`` is missing or names no registered layer.
    """
    options = dict(config)
    kind = options.pop('type', None)
    trainable = options.pop('requires_grad', True)
    options.setdefault('eps', 1e-5)
    if kind is None:
        raise InputError(f"norm_cfg needs a type, as in dict(type='BN'); got {dict(config)}")

    def make(channels: int) -> nn.Module:
        if kind in TORCH_NORMS:
            layer: nn.Module = TORCH_NORMS[kind](channels, **options)
        elif kind == 'GN':
            layer = nn.GroupNorm(num_channels=channels, **options)
        elif (cls := MODELS.get(kind)) is not None:
            layer = cls(channels, **options)
        else:
            raise InputError(f'norm_cfg type {kind!r} is not BN, SyncBN, GN or a layer registered in MODELS')
        for parameter in layer.parameters():
            parameter.requires_grad = trainable
        return layer

    return make
