"""Fold a trained network for inference: +-1 weights, one affine map per channel, real convolutions without BatchNorm.

After folding, ``bireal::binary_conv2d`` is the only 1-bit operation in the model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.binary.xnor import XNORConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.operator import pack_signs


class FoldedBinaryConv2d(nn.Module):
    """One ``bireal::binary_conv2d`` with its packed weight; buffers ``packed_weight, scale, bias``."""

    def __init__(self, conv: BinaryConv2d, scale: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride = tuple(conv.kernel_size), list(conv.stride)
        self.padding, self.dilation, self.groups = conv.zero_padding, list(conv.dilation), conv.groups
        self.register_buffer('packed_weight', pack_signs(conv.weight))
        self.register_buffer('scale', scale)
        self.register_buffer('bias', bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.bireal.binary_conv2d(
            x, self.packed_weight, self.scale, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={tuple(self.stride)}, '
            f'padding={tuple(self.padding)}, dilation={tuple(self.dilation)}, groups={self.groups}'
        )


def fold(model: nn.Module) -> nn.Module:
    """A folded copy of ``model`` in evaluation mode; ``model`` itself is unchanged."""
    return fold_(copy.deepcopy(model))


@torch.no_grad()
def fold_(model: nn.Module) -> nn.Module:
    """Fold ``model`` in place: every convolution takes in the BatchNorm that follows it in definition order.

    ``gamma < 0``, ``gamma = 0``, convolution biases and convolutions without BatchNorm are all legal.

    Raises:
        InputError: a layer that is not binary in both operands, or has no folded form (ABC-Net); nothing is changed.
    """
    found = list(convolutions(model))
    for name, conv, _, _ in found:
        if isinstance(conv, BinaryConv2d):
            _check_foldable(name, conv)
    for name, conv, norm_name, norm in found:
        multiplier, offset = _affine(conv, norm)
        if isinstance(conv, BinaryConv2d):
            scale = conv.weight_binarizer.scale(conv.weight)
            if scale is not None:
                multiplier = multiplier * scale.double().flatten()
            folded: nn.Module = FoldedBinaryConv2d(conv, multiplier.float(), offset.float())
        elif norm is None:
            continue
        else:
            folded = _folded_real(conv, multiplier, offset)
        model.set_submodule(name, folded)
        if norm_name is not None:
            model.set_submodule(norm_name, nn.Identity())
    return model.eval()


def convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d, str | None, _BatchNorm | None]]:
    """Every convolution and the BatchNorm right behind it, if there is one: ``(name, conv, name, norm)``."""
    modules = list(model.named_modules())
    for i, (name, conv) in enumerate(modules):
        if type(conv) is not nn.Conv2d and not isinstance(conv, BinaryConv2d):
            continue
        norm_name, norm = next(
            ((other, module) for other, module in modules[i + 1 :] if not other.startswith(f'{name}.')), (None, None)
        )
        if isinstance(norm, _BatchNorm) and norm.num_features == conv.out_channels and norm.running_mean is not None:
            yield name, conv, norm_name, norm
        else:
            yield name, conv, None, None


def _check_foldable(name: str, conv: BinaryConv2d) -> None:
    if not (conv.binary_input and conv.binary_weight):
        raise InputError(f'{name} is not binary yet ({conv.extra_repr()}); fold the network of the last stage')
    if isinstance(conv, XNORConv2d):
        raise InputError(f'{name}: the scale K of XNOR-Net depends on the input, which has no folded form here')
    try:
        conv.weight_binarizer.scale(conv.weight)
    except InputError as error:
        raise InputError(f'{name} has no folded form: {error}') from error


def _affine(conv: nn.Conv2d, norm: _BatchNorm | None) -> tuple[Tensor, Tensor]:
    """Multiplier and offset ``(O,)`` in float64 that stand for the convolution's bias and the BatchNorm behind it."""
    ones = torch.ones(conv.out_channels, dtype=torch.float64, device=conv.weight.device)
    bias = torch.zeros_like(ones) if conv.bias is None else conv.bias.double()
    if norm is None:
        return ones, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gamma, beta = (norm.weight.double(), norm.bias.double()) if norm.affine else (ones, torch.zeros_like(ones))
    multiplier = gamma / torch.sqrt(norm.running_var.double() + norm.eps)
    return multiplier, beta + multiplier * (bias - norm.running_mean.double())


def _folded_real(conv: nn.Conv2d, multiplier: Tensor, offset: Tensor) -> nn.Conv2d:
    folded = nn.utils.skip_init(
        nn.Conv2d,
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        True,
        conv.padding_mode,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    folded.weight.data.copy_(conv.weight.double() * multiplier.view(-1, 1, 1, 1))
    folded.bias.data.copy_(offset)
    return folded
