"""Operators that move elements and compute nothing (padding, cutting, joining, other shapes and orders), and the places
of sliding windows: TFLite knows the paddings SAME and VALID alone, PyTorch any number of pixels in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite.graph import (
    TO_STORED,
    TO_TORCH,
    Graph,
    GraphTensor,
    operand,
    stored_axis,
    stored_shape,
)


@dataclass(frozen=True)
class Windows:
    """The windows along one axis, in pixels.

    Args:
        size: of the input. out: of the output. before: padding in front of the first pixel.
    """

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    before: int

    @property
    def extent(self) -> int:
        """Pixels from the first to the last tap of a window."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def end(self) -> int:
        """One behind the last pixel that a window looks at."""
        return (self.out - 1) * self.stride - self.before + self.extent

    @property
    def after(self) -> int:
        """Padding that has to stand behind the last pixel."""
        return max(self.end - self.size, 0)

    @property
    def inside(self) -> bool:
        """Every window lies within the input, and VALID gives exactly these."""
        return self.before == 0 and self.end <= self.size and self.out == (self.size - self.extent) // self.stride + 1

    def same(self, *, extra: int = 0) -> bool:
        """SAME on an input with ``extra`` pixels behind it starts with exactly these windows."""
        size = self.size + extra
        out = -(-size // self.stride)
        padding = max((out - 1) * self.stride + self.extent - size, 0)
        return padding // 2 == self.before and (out >= self.out if extra else out == self.out)

    def inputs(self, place: int) -> list[int]:
        """The pixel under each tap of the window at ``place``; outside of the input it is padding."""
        return [place * self.stride - self.before + tap * self.dilation for tap in range(self.kernel)]


def windows(
    shape: Sequence[int],
    out_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
) -> tuple[Windows, Windows]:
    """The windows along rows and columns, from stored shapes ``(N, H, W, C)``."""
    rows, columns = (
        Windows(*values) for values in zip(shape[1:3], out_shape[1:3], kernel, stride, dilation, padding, strict=True)
    )
    return rows, columns


def pads(axes: Sequence[Windows]) -> list[list[int]]:
    """The padding of a stored tensor, in front of and behind each dimension, that brings all windows inside."""
    return [[0, 0], *([axis.before, axis.after] for axis in axes), [0, 0]]


LOWEST = float(np.finfo(np.float32).min)


def padded(
    graph: Graph, x: GraphTensor, amounts: Sequence[Sequence[int]], *, fill: float = 0, mirrored: bool = False
) -> GraphTensor:
    """``x`` with ``fill``, or its mirror image, around it; itself where ``amounts`` (front, behind) are all 0.

    Zeros are +1 where ``x`` is packed.
    """
    if not np.any(amounts):
        return x
    shape = [size + before + after for size, (before, after) in zip(x.shape, amounts, strict=True)]
    if mirrored:
        return graph.move('MIRROR_PAD', x, shape, amounts, mode=0)
    if fill == 0:
        return graph.move('PAD', x, shape, amounts)
    return graph.move('PADV2', x, shape, amounts, graph.constant(max(np.float32(fill), LOWEST)))


def crop(graph: Graph, x: GraphTensor, shape: Sequence[int], *, begin: Sequence[int]) -> GraphTensor:
    """The part of ``x`` that starts at ``begin``; ``x`` itself where that is all of it."""
    return x if x.shape == tuple(shape) else graph.move('SLICE', x, shape, begin, shape)


def pad(
    graph: Graph,
    shape: Sequence[int],
    x: GraphTensor,
    amounts: Sequence[int],
    mode: str = 'constant',
    value: float | None = None,
) -> GraphTensor:
    """Padding of rows and columns: with a number, or 'reflect'."""
    rank = len(shape)
    stored = [[0, 0] for _ in shape]
    for i in range(len(amounts) // 2):
        stored[stored_axis(rank - 1 - i, rank)] = [int(amounts[2 * i]), int(amounts[2 * i + 1])]
    if min(amounts) < 0 or mode not in ('constant', 'reflect'):
        raise InputError(f'padding of {tuple(amounts)} in mode {mode!r} is not exported')
    return padded(graph, x, stored, fill=value or 0, mirrored=mode == 'reflect')


def cut(
    graph: Graph,
    shape: Sequence[int],
    x: GraphTensor,
    dim: int,
    start: int | None,
    end: int | None,
    step: int,
) -> GraphTensor:
    """Every ``step``-th element along ``dim``, from ``start`` to before ``end``."""
    axis = stored_axis(dim, len(shape))
    first, last, _ = slice(start, end).indices(x.shape[axis])
    begin, stop, strides = [0] * len(shape), list(x.shape), [1] * len(shape)
    begin[axis], stop[axis], strides[axis] = first, last, step
    if step == 1:
        return crop(graph, x, stored_shape(shape), begin=begin)
    return graph.move('STRIDED_SLICE', x, stored_shape(shape), begin, stop, strides)


def zeros(graph: Graph, shape: Sequence[int], *_: Any, **__: Any) -> GraphTensor:
    """Zeros of a shape that comes from the input."""
    return graph.constant(np.zeros(stored_shape(shape)))


def concatenate(graph: Graph, shape: Sequence[int], tensors: Sequence[Any], dim: int = 0) -> GraphTensor:
    """Tensors side by side along ``dim``."""
    operands = [operand(graph, value, len(shape)) for value in tensors]
    negative_zero = any(value.negative_zero for value in operands)
    axis = stored_axis(dim, len(shape))
    return graph.add('CONCATENATION', operands, stored_shape(shape), negative_zero=negative_zero, axis=axis)


def reshape(graph: Graph, shape: Sequence[int], x: GraphTensor, *arguments: Any) -> GraphTensor:
    """The elements in PyTorch's order in another shape (view, flatten, squeeze, unsqueeze)."""
    x = _moved(graph, x, TO_TORCH.get(len(x.shape)))
    if x.shape != tuple(shape):
        x = graph.move('RESHAPE', x, shape, shape)
    return _moved(graph, x, TO_STORED.get(len(shape)))


def permute(graph: Graph, shape: Sequence[int], x: GraphTensor, dims: Sequence[int]) -> GraphTensor:
    """The dimensions in another order."""
    rank = len(shape)
    order = tuple(TO_STORED.get(rank, range(rank)))
    return _moved(graph, x, [stored_axis(dims[axis], rank) for axis in order])


def _moved(graph: Graph, x: GraphTensor, order: Sequence[int] | None) -> GraphTensor:
    if order is None or list(order) == sorted(order):
        return x
    shape = [x.shape[axis] for axis in order]
    if [axis for axis in order if x.shape[axis] > 1] == [axis for axis in range(len(order)) if x.shape[axis] > 1]:
        return graph.move('RESHAPE', x, shape, shape)
    return graph.move('TRANSPOSE', x, shape, order)
