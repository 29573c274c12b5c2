"""``bireal::binary_conv2d``, the one 1-bit operation of a folded network, and the packing of its weights.

Its PyTorch implementation is the reference for every engine; exporters look for this operation alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bireal_plugin.binary.sign import sign
from bireal_plugin.errors import InputError

BITS = 8


def pack_signs(weight: Tensor) -> Tensor:
    """Signs of ``weight`` (O, I, kH, kW) as uint8 ``(O, kH, kW, ceil(I / 8))``.

    Bit ``i % 8`` of byte ``i // 8`` is input channel ``i``: 1 for +1 (a weight of exactly 0 too), 0 for -1. Bits behind
    the last channel are 0.
    """
    bits = (weight.detach() >= 0).permute(0, 2, 3, 1).to(torch.uint8)
    bits = F.pad(bits, (0, -bits.shape[-1] % BITS))
    places = torch.tensor([1 << i for i in range(BITS)], dtype=torch.uint8, device=weight.device)
    return (bits.unflatten(-1, (-1, BITS)) * places).sum(-1, dtype=torch.uint8)


def unpack_signs(packed: Tensor, channels: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The +-1 weight ``(O, channels, kH, kW)`` that ``pack_signs`` packed."""
    places = torch.arange(BITS, dtype=torch.uint8, device=packed.device)
    bits = (packed.unsqueeze(-1) >> places) & 1
    signs = (2 * bits.flatten(-2)[..., :channels].to(dtype) - 1).permute(0, 3, 1, 2)
    # Plain strides, which contiguous() does not give a weight of one channel: with others, float32 convolutions of
    # PyTorch 2.12 on a CPU read foreign memory.
    return signs.clone(memory_format=torch.contiguous_format)


def binary_conv2d(
    x: Tensor,
    packed_weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """``conv2d(sign(x), +-1 weight) * scale + bias``, padded with true zeros.

    Args:
        x: ``(N, C, H, W)``, real. packed_weight: ``(O, kH, kW, ceil(C / groups / 8))`` uint8, see ``pack_signs``.
        scale, bias: ``(O,)``, the affine map that stands for BatchNorm, weight scale and convolution bias.
    """
    weight = unpack_signs(packed_weight, x.shape[1] // groups, dtype=x.dtype)
    y = F.conv2d(sign(x), weight, None, stride, padding, dilation, groups)
    return y * scale.to(y.dtype).view(-1, 1, 1) + bias.to(y.dtype).view(-1, 1, 1)


def _without_numbers(
    x: Tensor,
    packed_weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """The fake kernel: shapes of ``binary_conv2d`` by one convolution, without the operations of the unpacking."""
    out_channels, height, width, _ = packed_weight.shape
    weight = x.new_empty(out_channels, x.shape[1] // groups, height, width)
    return F.conv2d(x, weight, None, stride, padding, dilation, groups)


def _refuse_backward(*_: Any) -> None:
    raise InputError(
        'a folded network has no backward, since its signs have no latent weights; train the network that was folded, '
        'and run the folded one under torch.no_grad() or detach its input'
    )


# Written out, since each torch infers it from other annotations: 2.6 from typing's lists and not from Python's.
SCHEMA = (
    '(Tensor x, Tensor packed_weight, Tensor scale, Tensor bias, '
    'SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups) -> Tensor'
)
operator = torch.library.custom_op('bireal::binary_conv2d', binary_conv2d, mutates_args=(), schema=SCHEMA)
operator.register_fake(_without_numbers)
operator.register_autograd(_refuse_backward)
