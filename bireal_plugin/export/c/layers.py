"""The layers of a network as calls of kernels: convolutions, pools, linear layers and resizing.

Every function appends the calls of one ATen node to a graph and gives their result. It is called with the graph,
PyTorch's shape of the output, and the node's arguments as ``nodes`` has them: values, constants as torch tensors, plain
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.elementwise import applied, combined
from bireal_plugin.export.c.graph import Graph, Value, Window, settled
from bireal_plugin.export.c.layout import binary_weights, byte_weights, real_weights, takes_winograd, winograd_weights
from bireal_plugin.export.c.moves import feature_map, in_order, usual
from bireal_plugin.export.c.quantization import rounded
from bireal_plugin.export.nodes import exact_ratio, whole_factor


def binary_conv2d(
    graph: Graph,
    shape: Sequence[int],
    x: Value,
    packed_weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Value:
    """``bireal::binary_conv2d``; the signs of ``x`` are made by whoever makes ``x``, see ``fusion``."""
    x = feature_map(graph, x)
    weights = binary_weights(packed_weight, x.shape[0], groups)
    y = graph.add(
        'binary_conv',
        shape[1:],
        window=_window(x, shape, packed_weight.shape[1:3], stride, padding, dilation, groups),
        arrays=[weights, *(_finite(name, value) for name, value in (('scale', scale), ('bias', bias)))],
        reads=graph.signs(x, groups),
    )
    graph.layers.append((x, graph.calls[-1]))
    return y


def conv2d(
    graph: Graph,
    shape: Sequence[int],
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Value:
    """A real convolution."""
    x = feature_map(graph, x)
    window = _window(x, shape, weight.shape[2:], stride, padding, dilation, groups)
    return _convolved(graph, shape[1:], x, window, weight, bias)


def linear(graph: Graph, shape: Sequence[int], x: Value, weight: Tensor, bias: Tensor | None) -> Value:
    """A linear layer on the last dimension: a convolution of one pixel."""
    x = in_order(graph, x, range(len(x.shape)))
    channels, pixels = x.shape[-1], math.prod(x.shape[:-1])
    window = Window(1, pixels, channels, 1, pixels, shape[-1])
    y = _convolved(graph, (shape[-1], 1, pixels), x, window, weight[:, :, None, None], bias)
    return Value(y.buffer, tuple(shape[1:]), tuple(range(len(shape) - 1)))


def _convolved(
    graph: Graph, shape: Sequence[int], x: Value, window: Window, weight: Tensor, bias: Tensor | None
) -> Value:
    """A convolution in float32 or, where the graph has the range of its input and there are no groups, in 8 bits."""
    values, offset = _finite('weight', weight), None if bias is None else _finite('bias', bias)
    seen = graph.ranges.pop(0) if graph.ranges else None
    if seen is None or window.groups > 1:
        if takes_winograd(window):
            weights = winograd_weights(values)
            return graph.add('conv_winograd', shape, [x], window=window, arrays=[weights, offset])
        weights = real_weights(torch.from_numpy(values), window.groups)
        return graph.add('conv', shape, [x], window=window, arrays=[weights, offset])
    quantized, steps = rounded(values)
    weights, sums = byte_weights(quantized, column_dilation=window.column_dilation)
    scale = steps * np.float32(seen.scale)
    offset = np.zeros_like(scale) if offset is None else offset
    q = graph.add('quantize', [-(-window.bytes // 4)], [x], window=window, numbers=[seen.scale, seen.zero])
    return graph.add('conv_int8', shape, [q], window=window, numbers=[seen.zero], arrays=[weights, sums, scale, offset])


def max_pool2d(
    graph: Graph,
    shape: Sequence[int],
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Value:
    """Max pool."""
    x = feature_map(graph, x)
    window = _window(x, shape, kernel, stride, padding, dilation, 1)
    return graph.add('max_pool', shape[1:], [x], window=window)


def avg_pool2d(
    graph: Graph,
    shape: Sequence[int],
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    padded: bool,
) -> Value:
    """Average pool; ``padded`` counts the padding.

    Raises:
        InputError: windows that count padding end behind it.
    """
    x = feature_map(graph, x)
    window = _window(x, shape, kernel, stride, padding, [1, 1], 1)
    ends = [(out - 1) * step + size for out, step, size in zip(shape[2:], stride, kernel, strict=True)]
    if padded and any(end > size + 2 * p for end, size, p in zip(ends, x.shape[1:], padding, strict=True)):
        raise InputError(
            f'an average pool of {tuple(kernel)} pixels with stride {tuple(stride)}, padding {tuple(padding)} and '
            'ceil_mode=True is not exported, since its last windows end behind the padding that they count'
        )
    return graph.add('average_pool', shape[1:], [x], window=window, numbers=[int(padded)])


def adaptive_avg_pool2d(graph: Graph, shape: Sequence[int], x: Value, size: Sequence[int]) -> Value:
    """The average pool to a size that divides the image's."""
    sizes, wanted = x.shape[-2:], shape[-2:]
    if any(have % want for have, want in zip(sizes, wanted, strict=True)):
        raise InputError(f'an adaptive average pool of {sizes} to {tuple(wanted)} pixels is not by a whole factor')
    kernel = [have // want for have, want in zip(sizes, wanted, strict=True)]
    return avg_pool2d(graph, shape, x, kernel, kernel, [0, 0], False)


def mean(
    graph: Graph, shape: Sequence[int], x: Value, dims: Sequence[int], keepdim: bool = False, **options: Any
) -> Value:
    """The mean over some dimensions."""
    gone = {dim % (len(x.shape) + 1) - 1 for dim in dims}
    if -1 in gone:
        raise InputError('a mean over the images of a batch is not exported')
    return _reduced(graph, shape[1:], x, gone, 'average_pool', numbers=[0])


def softmax(graph: Graph, shape: Sequence[int], x: Value, dim: int, dtype: Any = None) -> Value:
    """Softmax over one dimension."""
    axis = dim % len(shape) - 1
    one = [1 if place == axis else size for place, size in enumerate(x.shape)]
    largest = _reduced(graph, one, x, {axis}, 'max_pool')
    powers = applied(graph, combined(graph, 'SUB', shape, x, largest), 'EXP')
    total = applied(graph, _reduced(graph, one, powers, {axis}, 'average_pool', numbers=[0]), 'MUL', x.shape[axis])
    return combined(graph, 'DIV', shape, powers, total)


def upsample_nearest2d(graph: Graph, shape: Sequence[int], x: Value, size: Any = None, scale: Any = None) -> Value:
    """Nearest neighbour by whole factors."""
    x = feature_map(graph, x)
    whole_factor(x.shape[1:], shape[2:])
    return graph.add('nearest', shape[1:], [x], window=_resized(x, shape))


def upsample_bilinear2d(
    graph: Graph, shape: Sequence[int], x: Value, size: Any, align_corners: bool, scale: Any = None
) -> Value:
    """Bilinear resizing; the scale factor, where given, must be the ratio of the sizes."""
    x = feature_map(graph, x)
    if not align_corners:
        exact_ratio(x.shape[1:], shape[2:], scale)
    return graph.add('bilinear', shape[1:], [x], window=_resized(x, shape), numbers=[int(align_corners)])


def _reduced(graph: Graph, shape: Sequence[int], x: Value, gone: set[int], kernel: Any, **options: Any) -> Value:
    """A pool over the dimensions ``gone``, which lie side by side in memory: windows in an image of one row each."""
    layout = x.layout
    places = [place for place, dim in enumerate(layout) if dim in gone]
    if places and places != list(range(places[0], places[-1] + 1)):
        x = usual(graph, x)
        layout = x.layout
        places = [place for place, dim in enumerate(layout) if dim in gone]
        if places != list(range(places[0], places[-1] + 1)):
            x = in_order(graph, x, [*(dim for dim in x.order if dim not in gone), *sorted(gone)])
            layout = x.layout
            places = [place for place, dim in enumerate(layout) if dim in gone]
    if not places:
        return Value(x.buffer, tuple(shape), settled(shape, _left(x, shape, gone)))
    outer = math.prod(x.shape[dim] for dim in layout[: places[0]])
    inner = math.prod(x.shape[dim] for dim in layout[places[-1] + 1 :])
    size = x.buffer.size // outer // inner
    window = Window(outer, size, inner, outer, 1, inner, 1, size, 1, size)
    y = graph.add(kernel, (inner, outer, 1), [x], window=window, **options)
    return Value(y.buffer, tuple(shape), settled(shape, _left(x, shape, gone)))


def _left(x: Value, shape: Sequence[int], gone: set[int]) -> list[int]:
    """The layout of ``x`` without the dimensions ``gone``, which a result of ``shape`` may have kept or not."""
    kept = [dim for dim in range(len(x.shape)) if dim not in gone or len(shape) == len(x.shape)]
    return [kept.index(dim) for dim in x.layout if dim not in gone]


def _resized(x: Value, shape: Sequence[int]) -> Window:
    channels, rows, columns = x.shape
    return Window(rows, columns, channels, shape[2], shape[3], channels)


def _window(
    x: Value,
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Window:
    channels, rows, columns = x.shape
    sizes = (rows, columns, channels, shape[2], shape[3], shape[1], *kernel, *stride, *padding, *dilation, groups)
    return Window(*map(int, sizes))


def _finite(name: str, value: Any) -> np.ndarray:
    """The float32 numbers of a constant."""
    if not isinstance(value, Tensor):
        raise InputError(f'its {name} is computed from the input, and is exported as a constant alone')
    if not bool(torch.isfinite(value).all()):
        raise InputError(f'its {name} has values that are NaN or infinite')
    return np.ascontiguousarray(value.detach().numpy(), np.float32)
