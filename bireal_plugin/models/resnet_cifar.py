"""BiRealResNet_CIFAR, in the place of mmpretrain's ``ResNet_CIFAR``, whose stem a config does not tell.

mmpretrain's class is its ResNet with another stem: 3x3 at stride 1, no max pool, never deep.
"""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS

from bireal_plugin.errors import InputError
from bireal_plugin.models.resnet import BiRealResNet


@MODELS.register_module()
class BiRealResNet_CIFAR(BiRealResNet):  # noqa: N801  the part that is not BiReal is theirs
    """``BiRealResNet`` with ``stem='cifar'``, for images of about 32 pixels.

    Args:
        depth, options: as of ``BiRealResNet``.
        deep_stem: False, as mmpretrain demands.

    Raises:
        InputError: ``deep_stem=True``, another stem, or what ``BiRealResNet`` refuses.
    """

    def __init__(self, depth: int, deep_stem: bool = False, **options: Any) -> None:
        if deep_stem or options.setdefault('stem', 'cifar') != 'cifar':
            raise InputError("BiRealResNet_CIFAR has the 3x3 stem; for another one use type='BiRealResNet'")
        super().__init__(depth, deep_stem=deep_stem, **options)
