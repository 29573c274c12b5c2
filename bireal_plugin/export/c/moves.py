"""Operators that move elements and compute nothing: other shapes and orders, cutting, joining and padding.

Called as in ``layers.py``. What can be told by another shape or order of the same elements costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.graph import Graph, Value, channels_last, constant_value, settled, strides_of


def in_order(graph: Graph, x: Value, order: Sequence[int]) -> Value:
    """``x`` with its dimensions in memory in this order."""
    if x.layout == [dim for dim in order if x.shape[dim] > 1]:
        return Value(x.buffer, x.shape, tuple(order))
    # A tensor whose dimensions are listed in the wanted order, and which is in its own usual order then.
    shape = [x.shape[dim] for dim in order]
    usual = channels_last(len(shape))
    listed = [0] * len(shape)
    for place, dim in enumerate(usual):
        listed[dim] = order[place]
    strides = x.strides
    moved = graph.move(
        [x.shape[dim] for dim in listed],
        [(x, 0, [strides[dim] for dim in listed], 0, [x.shape[dim] for dim in listed])],
    )
    return Value(moved.buffer, x.shape, tuple(order))


def usual(graph: Graph, x: Value) -> Value:
    """``x`` with its channels last."""
    return in_order(graph, x, channels_last(len(x.shape)))


def feature_map(graph: Graph, x: Value) -> Value:
    """A feature map (C, H, W), channels last.

    Raises:
        InputError: ``x`` has other dimensions.
    """
    if len(x.shape) != 3:
        raise InputError(f'it takes feature maps of 4 dimensions, not {len(x.shape) + 1}')
    return usual(graph, x)


def expanded(graph: Graph, x: Value, shape: Sequence[int]) -> Value:
    """``x`` repeated along the dimensions in which it has one element."""
    strides = [stride if have == want else 0 for stride, have, want in zip(x.strides, x.shape, shape, strict=True)]
    return graph.move(shape, [(x, 0, strides, 0, shape)])


def reshape(graph: Graph, shape: Sequence[int], x: Value, *arguments: Any) -> Value:
    """The elements in PyTorch's order in another shape (view, flatten, squeeze, unsqueeze)."""
    shape = tuple(shape[1:])
    blocks = _blocks(x.shape, shape)
    layout: list[int] = []
    left = x.layout
    while left:
        here, there = next(block for block in blocks if left[0] in block[0])
        if left[: len(here)] != here:
            x = in_order(graph, x, range(len(x.shape)))
            return Value(x.buffer, shape, settled(shape, [dim for dim, size in enumerate(shape) if size > 1]))
        layout, left = layout + there, left[len(here) :]
    return Value(x.buffer, shape, settled(shape, layout))


def _blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Dimensions of two shapes that hold the same elements, in the shortest runs; those of one element are left out."""
    sides = [[dim for dim, size in enumerate(shape) if size > 1] for shape in (old, new)]
    blocks = []
    while sides[0]:
        here, there = [sides[0].pop(0)], [sides[1].pop(0)]
        products = [old[here[0]], new[there[0]]]
        while products[0] != products[1]:
            shorter = int(products[1] < products[0])
            dim = sides[shorter].pop(0)
            (here, there)[shorter].append(dim)
            products[shorter] *= (old, new)[shorter][dim]
        blocks.append((here, there))
    return blocks


def permute(graph: Graph, shape: Sequence[int], x: Value, dims: Sequence[int]) -> Value:
    """The dimensions in another order."""
    dims = [dim % len(shape) - 1 for dim in dims]
    if dims[0] != -1:
        raise InputError('a permutation that moves the batch is not exported')
    places = {dim: place for place, dim in enumerate(dims[1:])}
    return Value(x.buffer, tuple(shape[1:]), settled(shape[1:], [places[dim] for dim in x.layout]))


def expand(graph: Graph, shape: Sequence[int], x: Value, *arguments: Any) -> Value:
    """``x`` repeated along dimensions of one element."""
    if len(shape) != len(x.shape) + 1:
        raise InputError(f'{len(x.shape) + 1} dimensions are not expanded to {len(shape)}; view them first')
    return x if x.shape == tuple(shape[1:]) else expanded(graph, x, shape[1:])


def cut(
    graph: Graph,
    shape: Sequence[int],
    x: Value,
    dim: int,
    start: int | None,
    end: int | None,
    step: int,
) -> Value:
    """Every ``step``-th element along ``dim``, from ``start`` to before ``end``."""
    axis = dim % len(shape) - 1
    if tuple(shape[1:]) == x.shape:
        return x
    first, _, _ = slice(start, end).indices(x.shape[axis])
    strides = x.strides
    place = first * strides[axis]
    strides[axis] *= step
    return graph.move(shape[1:], [(x, place, strides, 0, shape[1:])])


def zeros(graph: Graph, shape: Sequence[int], *_: Any, **__: Any) -> Tensor:
    """Zeros of a shape that comes from the input: a constant."""
    return torch.zeros(tuple(shape))


def concatenate(graph: Graph, shape: Sequence[int], tensors: Sequence[Any], dim: int = 0) -> Value:
    """Tensors side by side along ``dim``."""
    axis = dim % len(shape) - 1
    if axis < 0:
        raise InputError('images of a batch are not joined')
    step = strides_of(shape[1:], channels_last(len(shape) - 1))[axis]
    pieces, place = [], 0
    for tensor in tensors:
        value = tensor if isinstance(tensor, Value) else constant_value(one_image(tensor, tensor.shape))
        pieces.append((value, 0, value.strides, place * step, value.shape))
        place += value.shape[axis]
    return graph.move(shape[1:], pieces)


def pad(
    graph: Graph,
    shape: Sequence[int],
    x: Value,
    amounts: Sequence[int],
    mode: str = 'constant',
    value: float | None = None,
) -> Value:
    """Padding with a number, or 'reflect'; a negative amount cuts."""
    rank = len(x.shape)
    sides = [(0, 0)] * rank
    for i in range(len(amounts) // 2):
        if i == rank:
            raise InputError('a batch is not padded')
        sides[rank - 1 - i] = (int(amounts[2 * i]), int(amounts[2 * i + 1]))
    if mode == 'reflect' and min(amounts) >= 0:
        for axis, (front, behind) in enumerate(sides):
            x = x if front == behind == 0 else _reflected(graph, x, axis, front, behind)
        return x
    if mode != 'constant':
        raise InputError(f'padding of {tuple(amounts)} in mode {mode!r} is not exported')
    filling = constant_value(np.full(1, value or 0, np.float32))
    strides, steps = x.strides, strides_of(shape[1:], channels_last(rank))
    start = sum(max(-front, 0) * stride for (front, _), stride in zip(sides, strides, strict=True))
    place = sum(max(front, 0) * step for (front, _), step in zip(sides, steps, strict=True))
    inner = [size + min(front, 0) + min(behind, 0) for size, (front, behind) in zip(x.shape, sides, strict=True)]
    if min(inner) <= 0:
        raise InputError(f'padding of {tuple(amounts)} leaves nothing of the image')
    return graph.move(shape[1:], [(filling, 0, [0] * rank, 0, shape[1:]), (x, start, strides, place, inner)])


def _reflected(graph: Graph, x: Value, axis: int, front: int, behind: int) -> Value:
    shape, strides = list(x.shape), x.strides
    last = shape[axis] - 1
    back = [*strides]
    back[axis] *= -1
    shape[axis] += front + behind
    step = strides_of(shape, channels_last(len(shape)))[axis]
    pieces = []
    for start, along, place, count in (
        (front, back, 0, front),
        (0, strides, front, last + 1),
        (last - 1, back, front + last + 1, behind),
    ):
        if count:
            sizes = [*shape]
            sizes[axis] = count
            pieces.append((x, start * strides[axis], along, place * step, sizes))
    return graph.move(shape, pieces)


def one_image(tensor: Tensor, shape: Sequence[int]) -> np.ndarray:
    """A constant broadcast to PyTorch's ``shape``, without the batch.

    Raises:
        InputError: it differs between the images of a batch, or has NaN or infinite values.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise InputError('one of its constants is NaN or infinite')
    array = tensor.detach().float().numpy()
    if array.ndim > len(shape) or (array.ndim == len(shape) and array.shape[0] != 1):
        raise InputError(f'a constant of shape {array.shape} does not fit one image of shape {tuple(shape[1:])}')
    return np.broadcast_to(array, (1, *shape[1:]))[0]
