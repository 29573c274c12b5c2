"""The rhythm of torchao, prepare, train, convert, by its ``quantize_``; importing this file registers both steps.

=========== ======================================================================
prepare     ``quantize_(model, BiRealConfig(), filter_fn=is_resnet)``
convert     ``quantize_(model, BiRealConvertConfig(), filter_fn=is_resnet)``
=========== ======================================================================

``quantize_`` hands over one module at a time. A Bi-Real network is not made by swapping single convolutions (behind a
ReLU every sign is +1), so the module that ``filter_fn`` picks must be a whole ResNet, or a model around one:
``is_resnet`` picks it wherever it is, ``lambda module, name: name == 'backbone'`` by name. A single convolution or
linear layer, such as torchao's default filter picks, is refused before anything has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchao.core.config import AOBaseConfig
from torchao.quantization.transform_module import register_quantize_module_handler

from bireal_plugin.errors import InputError
from bireal_plugin.folding.fold import fold_
from bireal_plugin.models.from_resnet.binarize import BiRealConfig, binarize
from bireal_plugin.models.from_resnet.trunk import smallest_network

# A virtual base class, so that BiRealConfig itself does not need torchao.
AOBaseConfig.register(BiRealConfig)


@dataclass(frozen=True)
class BiRealConvertConfig(AOBaseConfig):
    """The convert step: a trained network folded in place to packed 1-bit weights, see ``fold_``.

    Args:
        example_shape: ``(N, C, H, W)`` of an input of the module that the filter picks, as ``fold_`` takes it.
    """

    example_shape: Sequence[Any] | None = None


def is_resnet(module: nn.Module, name: str = '') -> bool:
    """A filter for ``quantize_``: the smallest module with a stem and blocks of ResNet, real or Bi-Real."""
    try:
        return smallest_network(module) == ''
    except InputError:
        return False


@register_quantize_module_handler(BiRealConfig)
def _binarize_module(module: nn.Module, config: BiRealConfig) -> nn.Module:
    _check_whole(module, config)
    binarize(module, config)
    return module


@register_quantize_module_handler(BiRealConvertConfig)
def _fold_module(module: nn.Module, config: BiRealConvertConfig) -> nn.Module:
    _check_whole(module, config)
    return fold_(module, config.example_shape)


def _check_whole(module: nn.Module, config: object) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        raise InputError(
            f'{module} alone does not become 1-bit, its block has to change; give quantize_ the whole ResNet: '
            f'quantize_(model, {type(config).__name__}(), filter_fn=bireal_plugin.torchao.is_resnet)'
        )
