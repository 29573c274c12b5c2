"""The real layers of a network in TFLite's operators: convolutions, pools, linear layers and resizing.

Every function appends the operators of one ATen node to a graph and gives their output. It is called with the graph,
PyTorch's shape of the output, and the node's arguments as ``nodes`` has them: graph tensors, constants as torch
tensors, plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.export.nodes import exact_ratio, whole_factor
from bireal_plugin.export.tflite.binary import SAME, VALID
from bireal_plugin.export.tflite.graph import Graph, GraphTensor, stored_axis, stored_shape
from bireal_plugin.export.tflite.shapes import LOWEST, Windows, padded, pads, reshape, windows


def conv2d(
    graph: Graph,
    shape: Sequence[int],
    x: GraphTensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> GraphTensor:
    """A real convolution. Groups are left to CONV_2D."""
    axes = windows(x.shape, stored_shape(shape), weight.shape[2:], stride, padding, dilation)
    x, kind = _placed(graph, x, axes)
    kernels = graph.constant(weight.numpy().transpose(0, 2, 3, 1))
    operands = (x, kernels, _bias(graph, bias, weight.shape[0]))
    options: dict[str, Any] = dict(
        stride_h=stride[0], stride_w=stride[1], dilation_h_factor=dilation[0], dilation_w_factor=dilation[1]
    )
    return graph.add('CONV_2D', operands, stored_shape(shape), negative_zero=False, padding=kind, **options)


def linear(graph: Graph, shape: Sequence[int], x: GraphTensor, weight: Tensor, bias: Tensor | None) -> GraphTensor:
    """A linear layer on ``(N, C)``."""
    if len(x.shape) != 2:
        raise InputError(f'a linear layer is exported for inputs (N, C), not of {len(x.shape)} dimensions')
    operands = (x, graph.constant(weight.numpy()), _bias(graph, bias, weight.shape[0]))
    return graph.add('FULLY_CONNECTED', operands, shape, negative_zero=False)


def max_pool2d(
    graph: Graph,
    shape: Sequence[int],
    x: GraphTensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> GraphTensor:
    """Max pool; padding is the lowest float there is."""
    if list(dilation) != [1, 1]:
        raise InputError(f'a max pool with dilation {tuple(dilation)} has no form in TFLite')
    axes = windows(x.shape, stored_shape(shape), kernel, stride, padding)
    x, kind = _placed(graph, x, axes, fill=LOWEST)
    return _pool(graph, 'MAX_POOL_2D', shape, x, kernel, stride, kind)


def avg_pool2d(
    graph: Graph,
    shape: Sequence[int],
    x: GraphTensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    counted: bool,
) -> GraphTensor:
    """Average pool; SAME averages over real pixels alone, so it is what leaves padding out where it is not ``counted``.

    Raises:
        InputError: windows that TFLite cannot place.
    """
    axes = windows(x.shape, stored_shape(shape), kernel, stride, padding)
    if all(axis.inside for axis in axes):
        kind = VALID
    elif not counted and all(axis.same() for axis in axes):
        kind = SAME
    elif counted and all(axis.after <= axis.before for axis in axes):
        x, kind = padded(graph, x, pads(axes)), VALID
    else:
        raise InputError(
            f'an average pool of {tuple(kernel)} pixels with stride {tuple(stride)} and padding {tuple(padding)}, '
            f'{"counted" if counted else "not counted"}, from {x.shape[1]} x {x.shape[2]} to {shape[2]} x {shape[3]} '
            'pixels has no exact form in TFLite'
        )
    return _pool(graph, 'AVERAGE_POOL_2D', shape, x, kernel, stride, kind)


def mean(
    graph: Graph, shape: Sequence[int], x: GraphTensor, dims: Sequence[int], keepdim: bool = False, **options: Any
) -> GraphTensor:
    """The mean over some dimensions."""
    rank = len(x.shape)
    axes = sorted(stored_axis(dim, rank) for dim in dims)
    if not keepdim and (rank, axes) == (4, [1, 2]):
        return graph.add('MEAN', (x, axes), shape, keep_dims=False)
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    y = graph.add('MEAN', (x, axes), kept, keep_dims=True)
    return y if keepdim else reshape(graph, shape, y)


def adaptive_avg_pool2d(graph: Graph, shape: Sequence[int], x: GraphTensor, size: Sequence[int]) -> GraphTensor:
    """The global average pool."""
    if list(shape[2:]) != [1, 1]:
        raise InputError(f'an adaptive average pool to {tuple(shape[2:])} is not exported, only one to (1, 1)')
    return mean(graph, shape, x, (2, 3), True)


def upsample_nearest2d(
    graph: Graph, shape: Sequence[int], x: GraphTensor, size: Any = None, scale: Any = None
) -> GraphTensor:
    """Nearest neighbour by whole factors."""
    out = stored_shape(shape)
    whole_factor(x.shape[1:3], out[1:3])
    return graph.move('RESIZE_NEAREST_NEIGHBOR', x, out, out[1:3])


def upsample_bilinear2d(
    graph: Graph, shape: Sequence[int], x: GraphTensor, size: Any, align_corners: bool, scale: Any = None
) -> GraphTensor:
    """Bilinear resizing; the scale factor, where given, must be the ratio of the sizes, which TFLite computes with."""
    out = stored_shape(shape)
    if not align_corners:
        exact_ratio(x.shape[1:3], out[1:3], scale)
    options: dict[str, Any] = dict(align_corners=bool(align_corners), half_pixel_centers=not align_corners)
    return graph.add('RESIZE_BILINEAR', (x, out[1:3]), out, **options)


def _placed(graph: Graph, x: GraphTensor, axes: Sequence[Windows], *, fill: float = 0) -> tuple[GraphTensor, int]:
    """Input and kind of padding with which TFLite has the windows ``axes``; ``fill`` stands around the image."""
    if all(axis.same() for axis in axes) and not all(axis.inside for axis in axes):
        return x, SAME
    return padded(graph, x, pads(axes), fill=fill), VALID


def _bias(graph: Graph, bias: Tensor | None, channels: int) -> GraphTensor:
    # Adding 0.0 makes a bias of -0.0 one of 0.0, so that an exact zero never leaves as -0.0.
    return graph.constant(np.zeros(channels, np.float32) if bias is None else bias.numpy() + np.float32(0))


def _pool(
    graph: Graph,
    kind: str,
    shape: Sequence[int],
    x: GraphTensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: int,
) -> GraphTensor:
    options: dict[str, Any] = dict(
        filter_height=kernel[0], filter_width=kernel[1], stride_h=stride[0], stride_w=stride[1]
    )
    kept = kind == 'MAX_POOL_2D' and not x.negative_zero
    return graph.add(kind, (x,), stored_shape(shape), negative_zero=not kept, padding=padding, **options)
