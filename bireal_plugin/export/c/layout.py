"""Weights in the order in which the C kernels read them: blocks of 16 output channels, one block after the other."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from bireal_plugin.export.c.graph import Window

BLOCK = 16  # BR_BLOCK
WORD = 32  # BR_WORD
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0, None, 2.0)  # of winograd.h; None is infinity


def binary_weights(packed_weight: Tensor, channels: int, groups: int) -> np.ndarray:
    """Packed signs as uint32 ``(groups, ceil(O / 16), kH, kW, words, 16)``, O output channels of a group.

    Args:
        packed_weight: as ``pack_signs`` gives it. channels: of the whole input.
    """
    packed = packed_weight.cpu().numpy()
    words = -(-(channels // groups) // WORD)
    packed = np.pad(packed, ((0, 0), (0, 0), (0, 0), (0, 4 * words - packed.shape[3])))
    return _blocked(np.ascontiguousarray(packed).view('<u4'), groups)


def real_weights(weight: Tensor, groups: int) -> np.ndarray:
    """A weight ``(O, I, kH, kW)`` or ``(O, I)`` as float32 ``(groups, ceil(O / 16), kH, kW, I, 16)``."""
    values = weight.detach().cpu().float().numpy()
    values = values.reshape(*values.shape[:2], *(values.shape[2:] or (1, 1)))
    return _blocked(values.transpose(0, 2, 3, 1), groups)


def takes_winograd(window: Window) -> bool:
    """Whether ``conv_winograd`` computes these windows, of at least one group of four outputs."""
    moved = (window.kernel_columns, window.column_stride, window.row_dilation, window.column_dilation, window.groups)
    return moved == (7, 2, 1, 1, 1) and window.kernel_rows <= 7 and window.channels <= 4 and window.out_columns >= 4


def winograd_weights(weight: np.ndarray) -> np.ndarray:
    """A weight ``(O, I, kH, 7)`` as factors of the 13 products, float32 ``(ceil(O / 16), 13, kH, I, 16)``.

    A product is that of two polynomials at one point: the weights' and, by ``winograd.h``, that of which the windows'
    columns are coefficients. This one is Lagrange's for the point, without its denominator, which stands here.
    """
    even, odd = (weight[..., ::2], POINTS), (weight[..., 1::2], POINTS[:-1])
    products = []
    for point in POINTS:
        for taps, points in (even, odd):
            if point is None:
                products.append(taps[..., -1].astype(np.float64))
            elif point in points:
                others = [other for other in points if other not in (None, point)]
                powers = np.power(point, np.arange(taps.shape[-1]))
                products.append(taps @ powers / np.prod([point - other for other in others]))
    factors = np.stack(products, -1).astype(np.float32)  # (O, I, kH, 13)
    return _blocked(factors.transpose(0, 3, 2, 1), 1)[0]


def byte_weights(quantized: np.ndarray, *, column_dilation: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """An int8 weight ``(O, I, kH, kW)`` in the order of ``conv_int8``, and the int32 sum of each output's weights.

    The weights' shape is ``(ceil(O / 16), kH, ceil(kW I / 4), 16, 4)``; with a column dilation
    ``(ceil(O / 16), kH, kW, ceil(I / 4), 16, 4)``.
    """
    sums = quantized.astype(np.int32).sum((1, 2, 3), dtype=np.int32)
    outputs, inputs, rows, columns = quantized.shape
    taps = quantized.transpose(0, 2, 3, 1)  # (O, kH, kW, I)
    taps = taps.reshape(outputs, rows, 1, columns * inputs) if column_dilation == 1 else taps
    taps = np.pad(taps, ((0, -outputs % BLOCK), (0, 0), (0, 0), (0, -taps.shape[3] % 4)))
    blocks = taps.reshape(-1, BLOCK, *taps.shape[1:3], taps.shape[3] // 4, 4)
    blocks = np.ascontiguousarray(np.moveaxis(blocks, 1, 4))
    return (blocks[:, :, 0] if column_dilation == 1 else blocks), sums


def _blocked(values: np.ndarray, groups: int) -> np.ndarray:
    """(groups * O, kH, kW, I) as (groups, blocks, kH, kW, I, 16); missing output channels are 0."""
    values = values.reshape(groups, -1, *values.shape[1:])
    values = np.pad(values, ((0, 0), (0, -values.shape[1] % BLOCK), *[(0, 0)] * 3))
    values = values.reshape(groups, -1, BLOCK, *values.shape[2:])
    return np.ascontiguousarray(np.moveaxis(values, 2, -1))
