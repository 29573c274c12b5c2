"""Normalisation layers from OpenMMLab's ``norm_cfg``, without mmcv for the common ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.registry import MODELS
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.models.blocks import Norm

TORCH_NORMS: dict[str, type[nn.Module]] = {
    'BN': nn.BatchNorm2d,
    'BN2d': nn.BatchNorm2d,
    'SyncBN': nn.SyncBatchNorm,
    'GN': nn.GroupNorm,
    'IN': nn.InstanceNorm2d,
    'IN2d': nn.InstanceNorm2d,
}
# mmcv registers these too; they would build and then fail, or normalise over the width of the image.
NOT_FOR_IMAGES = ('BN1d', 'BN3d', 'IN1d', 'IN3d', 'LN')


def norm_factory(config: Mapping[str, Any]) -> Norm:
    """Function from a number of channels to the layer of ``dict(type='BN'|'SyncBN'|'GN'|..., requires_grad=True)``.

    ``type`` may also be a class, or the name of any layer registered in ``MODELS`` that takes the channels first.

    Raises:
        InputError: ``type`` is missing, names no registered layer, or one that is not for ``(N, C, H, W)``.
    """
    options = dict(config)
    kind = options.pop('type', None)
    trainable = options.pop('requires_grad', True)
    options.setdefault('eps', 1e-5)
    if kind is None:
        raise InputError(f"norm_cfg needs a type, as in dict(type='BN'); got {dict(config)}")
    if kind in NOT_FOR_IMAGES:
        raise InputError(f'norm_cfg type {kind!r} does not normalise images (N, C, H, W); use BN, SyncBN or GN')

    def make(channels: int) -> nn.Module:
        cls = kind if isinstance(kind, type) else TORCH_NORMS.get(kind) or MODELS.get(kind)
        if cls is None:
            raise InputError(f'norm_cfg type {kind!r} is not BN, SyncBN, GN, IN or a layer registered in MODELS')
        layer: nn.Module
        layer = nn.GroupNorm(num_channels=channels, **options) if cls is nn.GroupNorm else cls(channels, **options)
        for parameter in layer.parameters():
            parameter.requires_grad = trainable
        return layer

    return make
