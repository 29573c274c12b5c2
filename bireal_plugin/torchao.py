"""``torchao.quantization.quantize_(model, BiRealConfig(), filter_fn=is_resnet)``; importing this file registers it.

``quantize_`` hands over one module at a time. A Bi-Real network is not made by swapping single convolutions (behind a
ReLU every sign is +1), so the module that ``filter_fn`` picks must be a whole ResNet, or a model around one:
``is_resnet`` picks it wherever it is, ``lambda module, name: name == 'backbone'`` by name. A single convolution or
linear layer, such as torchao's default filter picks, is refused before anything has changed.
"""

from __future__ import annotations

from torch import nn
from torchao.core.config import AOBaseConfig
from torchao.quantization.transform_module import register_quantize_module_handler

from bireal_plugin.errors import InputError
from bireal_plugin.models.from_resnet.binarize import BiRealConfig, binarize
from bireal_plugin.models.from_resnet.trunk import find_host

# A virtual base class, so that BiRealConfig itself does not need torchao.
AOBaseConfig.register(BiRealConfig)


def is_resnet(module: nn.Module, name: str = '') -> bool:
    """A filter for ``quantize_``: the smallest module with a stem and ResNet blocks, at any depth of a model."""
    try:
        return find_host(module) == ''
    except InputError:
        return False


@register_quantize_module_handler(BiRealConfig)
def _binarize_module(module: nn.Module, config: BiRealConfig) -> nn.Module:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        raise InputError(
            f'{module} alone does not become 1-bit, its block has to change; give quantize_ the whole ResNet: '
            'quantize_(model, BiRealConfig(), filter_fn=bireal_plugin.torchao.is_resnet)'
        )
    binarize(module, config)
    return module
