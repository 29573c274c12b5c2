"""``bireal::binary_conv2d`` as LceQuantize and LceBconv2d, with PyTorch's zero padding exactly.

Larq packs signs 32 to an int32, the first channel in the lowest bit, **1 for -1**, and leaves 0 behind the last
channel. TFLite computes without denormal numbers: they are zeros, of sign +1.

A padded bit is 0, which is +1, so zero padding needs one of these forms, the first that applies:

* no padding: VALID;
* SAME with ``pad_values=0``, where it places the windows as PyTorch does: the engine takes back what padding added.
  Where it does not, one or two rows and columns behind the image may bring it there (stride 2 on even sizes), provided
  that no window which is kept sees them; what they add to the output is cut off;
* padding with +1, VALID, the addition of a constant that takes back what the padding added, and then the affine map.
  The constant depends on which taps of a window lie outside, so it has few different rows and columns, and those are
  what the file holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bireal_plugin.export.tflite.graph import Graph, GraphTensor, stored_shape
from bireal_plugin.export.tflite.shapes import Windows, crop, padded, pads, windows
from bireal_plugin.folding.operator import unpack_signs

BITS = 32
SAME, VALID = 0, 1


def binary_conv2d(
    graph: Graph,
    shape: Sequence[int],
    x: GraphTensor,
    packed_weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> GraphTensor:
    """Append the operators of one binary convolution whose output has PyTorch's ``shape``; arguments as the node has.

    Groups are convolved one by one: each keeps its 1-bit weights, and may have any number of channels.
    """
    out_shape = (*stored_shape(shape)[:3], shape[1] // groups)
    channels = x.shape[3] // groups
    axes = windows(x.shape, out_shape, packed_weight.shape[1:3], stride, padding, dilation)
    parts = []
    for group in range(groups):
        rows = slice(group * out_shape[3], (group + 1) * out_shape[3])
        signs = unpack_signs(packed_weight[rows], channels).permute(0, 2, 3, 1).numpy()
        part = x if groups == 1 else crop(graph, x, (*x.shape[:3], channels), begin=(0, 0, 0, group * channels))
        multiplier, offset = (value[rows].detach().numpy() for value in (scale, bias))
        parts.append(_convolve(graph, part, signs, multiplier, offset, axes, out_shape))
    y = parts[0]
    if groups > 1:
        y = graph.add('CONCATENATION', parts, stored_shape(shape), axis=3, negative_zero=False)
    graph.layers.append((x.index, y.index))
    return y


def _convolve(
    graph: Graph,
    x: GraphTensor,
    signs: np.ndarray,
    multiplier: np.ndarray,
    offset: np.ndarray,
    axes: tuple[Windows, Windows],
    out_shape: tuple[int, ...],
) -> GraphTensor:
    """One group; ``signs`` are the weights ``(O, kH, kW, I)``, +-1."""
    bits = _quantized(graph, x)
    filters = graph.constant(packed_filter(signs), 'int32')
    # A bias of -0.0 would let an exact zero leave as -0.0.
    affine = [graph.constant(values + np.float32(0)) for values in (multiplier, offset)]
    options: dict[str, Any] = dict(
        channels_in=x.shape[3],
        dilation_height_factor=axes[0].dilation,
        dilation_width_factor=axes[1].dilation,
        fused_activation_function=0,
        pad_values=0,
        stride_height=axes[0].stride,
        stride_width=axes[1].stride,
    )

    def convolution(
        bits: GraphTensor, affine: Sequence[GraphTensor], shape: Sequence[int], padding: int
    ) -> GraphTensor:
        inputs = (bits, filters, *affine, None)
        return graph.add('LceBconv2d', inputs, shape, negative_zero=False, padding=padding, **options)

    if all(axis.inside for axis in axes):
        return convolution(bits, affine, out_shape, VALID)
    rows, columns = (_extra(axis) for axis in axes)
    if rows is not None and columns is not None:
        bits = padded(graph, bits, [[0, 0], [0, rows], [0, columns], [0, 0]])
        sizes = [-(-size // axis.stride) for size, axis in zip(bits.shape[1:3], axes, strict=True)]
        y = convolution(bits, affine, (out_shape[0], *sizes, out_shape[3]), SAME)
        return crop(graph, y, out_shape, begin=(0, 0, 0, 0))
    # The affine map comes last, on integers: before the border is taken back, numbers are larger and so is rounding.
    identity = [graph.constant(np.full(len(signs), value, np.float32)) for value in (1, 0)]
    y = convolution(padded(graph, bits, pads(axes)), identity, out_shape, VALID)
    y = graph.add('ADD', (y, _border(graph, signs, axes)), out_shape, negative_zero=False)
    for kind, values in zip(('MUL', 'ADD'), affine, strict=True):
        y = graph.add(kind, (y, values), out_shape, negative_zero=kind == 'MUL')
    return y


def packed_filter(signs: np.ndarray) -> np.ndarray:
    """+-1 weights ``(O, kH, kW, I)`` as int32 ``(O, kH, kW, ceil(I / 32))``: 1 for -1, lowest bit first, then 0."""
    negative = np.pad(signs < 0, ((0, 0), (0, 0), (0, 0), (0, -signs.shape[3] % BITS)))
    return np.ascontiguousarray(np.packbits(negative, axis=-1, bitorder='little')).view('<i4').astype(np.int32)


def _quantized(graph: Graph, x: GraphTensor) -> GraphTensor:
    if x.negative_zero:
        # LceQuantize compares on x86, but looks at the sign bit on ARM; -0.0 + 0.0 = 0.0, all else stays as it is.
        x = graph.add('ADD', (x, graph.constant(np.float32(0))), x.shape, negative_zero=False)
    return graph.add('LceQuantize', (x,), (*x.shape[:3], -(-x.shape[3] // BITS)), dtype='int32')


def _extra(axis: Windows) -> int | None:
    """Pixels behind the image with which SAME places the windows as PyTorch does; None if no number does.

    The engine's own correction counts taps in front of and behind the image apart, so it needs images not smaller than
    a window.
    """
    if axis.size < axis.extent:
        return None
    if axis.same():
        return 0
    for extra in range(1, axis.stride):
        if axis.end <= axis.size and axis.same(extra=extra):
            return extra
    return None


def _border(graph: Graph, signs: np.ndarray, axes: tuple[Windows, Windows]) -> GraphTensor:
    """Correction of a convolution whose padding was +1, ``(1, H', W', O)``, from its different rows and columns."""
    kinds, places = zip(*(_kinds(axis) for axis in axes), strict=True)
    outside = ~(kinds[0][:, None, :, None] & kinds[1][None, :, None, :])
    sums = signs.astype(np.float64).sum(3)
    values = graph.constant(-np.einsum('rckl,okl->rco', outside, sums)[None])
    for axis, index in enumerate(places, start=1):
        if list(index) != list(range(values.shape[axis])):
            shape = [*values.shape]
            shape[axis] = len(index)
            values = graph.add('GATHER', (values, index), shape, axis=axis)
    return values


def _kinds(axis: Windows) -> tuple[np.ndarray, np.ndarray]:
    """The different kinds of windows, (kind, tap) True where a tap lies on the image, and the kind at each place."""
    taps = np.array([axis.inputs(place) for place in range(axis.out)])
    kinds, places = np.unique((taps >= 0) & (taps < axis.size), axis=0, return_inverse=True)
    return kinds, places.reshape(-1)
