"""The layers of a folded network: ``bireal::binary_conv2d`` with its packed weights, and the rest of each method.

========================== ==========================================================
BinaryConv2d               ``binary_conv2d(x)``
XNORConv2d                 ``binary_conv2d(x) K(x) + offset``
ABCConv2d                  ``sum_j beta_j sum_i binary_conv2d_i(A_j) + offset``
========================== ==========================================================

The affine map of every call stands for weight scale, convolution bias and BatchNorm. Biases of zero are stored too, so
that all tensors of the operator are constants for every engine.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, WeightBases
from bireal_plugin.binary.conv import refuse_integers
from bireal_plugin.errors import InputError
from bireal_plugin.folding.operator import pack_signs


class FoldedLayer(nn.Module):
    """Base of the layers in the place of 1-bit convolutions; not trained, and without latent weights."""

    def __init__(self) -> None:
        super().__init__()
        # A loader that is not strict, as OpenMMLab's, would leave this layer as it was and load all others.
        self.register_load_state_dict_pre_hook(_refuse_latent_weight)


def _refuse_latent_weight(layer: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    if f'{prefix}weight' in state_dict:
        raise InputError(
            f'{prefix}weight is the latent weight of a network that was not folded; load these weights first, '
            'and then fold() it or call switch_to_deploy()'
        )


class FoldedBinaryConv2d(FoldedLayer):
    """One ``bireal::binary_conv2d`` with its packed weight; buffers ``packed_weight, scale, bias``.

    Args:
        conv: gives geometry and weight.
        scale, bias: ``(O,)``, the affine map.
        weight: packed instead of ``conv.weight``.
    """

    packed_weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, conv: BinaryConv2d, scale: Tensor, bias: Tensor, *, weight: Tensor | None = None) -> None:
        super().__init__()
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride = tuple(conv.kernel_size), list(conv.stride)
        self.padding, self.dilation, self.groups = conv.zero_padding, list(conv.dilation), conv.groups
        self.register_buffer('packed_weight', pack_signs(conv.weight if weight is None else weight))
        self.register_buffer('scale', scale.float())
        self.register_buffer('bias', bias.float())

    def forward(self, x: Tensor) -> Tensor:
        refuse_integers(x)
        return torch.ops.bireal.binary_conv2d(
            x, self.packed_weight, self.scale, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={tuple(self.stride)}, '
            f'padding={tuple(self.padding)}, dilation={tuple(self.dilation)}, groups={self.groups}'
        )


class FoldedXNORConv2d(FoldedLayer):
    """``binary_conv2d(x) K(x) + offset``: alpha is in the scale, K depends on the input and is computed.

    The 1-bit convolution is the ``FoldedBinaryConv2d`` in ``conv``, whose bias is 0. Buffers: ``box``
    ``(groups, 1, kH, kW)``, the mean over a window, and ``offset`` ``(O,)``.
    """

    box: Tensor
    offset: Tensor

    def __init__(self, conv: BinaryConv2d, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.conv = FoldedBinaryConv2d(conv, scale, torch.zeros_like(offset))
        rows, columns = conv.kernel_size
        box = conv.weight.new_full((conv.groups, 1, rows, columns), 1 / (rows * columns))
        self.register_buffer('box', box)
        self.register_buffer('offset', offset.to(conv.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        y, scale, groups = self.conv(x), self.input_scale(x), self.conv.groups
        y = y * scale if groups == 1 else (y.unflatten(1, (groups, -1)) * scale.unsqueeze(2)).flatten(1, 2)
        return y + self.offset.view(-1, 1, 1)

    def input_scale(self, x: Tensor) -> Tensor:
        """K ``(N, groups, H', W')``, see ``XNORConv2d.input_scale``."""
        groups = self.conv.groups
        magnitude = x.abs().mean(1, keepdim=True) if groups == 1 else x.abs().unflatten(1, (groups, -1)).mean(2)
        return F.conv2d(magnitude, self.box, None, self.conv.stride, self.conv.padding, self.conv.dilation, groups)


class FoldedABCConv2d(FoldedLayer):
    """``sum_j beta_j sum_i binary_conv2d(2 (x + v_j) - 1, B_i) alpha_i + offset``: M x N binary convolutions.

    The M weight bases are ``FoldedBinaryConv2d`` in ``bases``, each called once per activation basis. Buffers:
    ``shift{j}`` and ``beta{j}`` (scalars), ``offset`` ``(O,)``.
    """

    offset: Tensor

    def __init__(self, conv: ABCConv2d, multiplier: Tensor, offset: Tensor) -> None:
        super().__init__()
        binarizer = conv.weight_binarizer
        assert isinstance(binarizer, WeightBases)
        signs, alpha = binarizer.decompose(conv.weight)
        zero = torch.zeros_like(offset)
        self.bases = nn.ModuleList(
            FoldedBinaryConv2d(conv, coefficient.flatten() * multiplier, zero.clone(), weight=basis)
            for basis, coefficient in zip(signs.view(-1, *conv.weight.shape), alpha.double(), strict=True)
        )
        self.activation_bases = conv.activation_bases
        for j in range(self.activation_bases):
            self.register_buffer(f'shift{j}', conv.shift[j].detach().clone())
            self.register_buffer(f'beta{j}', conv.scale[j].detach().clone())
        self.register_buffer('offset', offset.to(conv.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        refuse_integers(x)
        y = self.offset.view(-1, 1, 1)
        for j in range(self.activation_bases):
            # The arithmetic of training, whose signs these must be.
            argument = 2 * (x + getattr(self, f'shift{j}')) - 1
            for basis in self.bases:
                y = y + basis(argument) * getattr(self, f'beta{j}')
        return y
