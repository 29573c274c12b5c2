"""Element by element: arithmetic and activations, each a ``map`` of one step until ``fusion`` moves it to a kernel.

Called as in ``layers.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.graph import Buffer, Call, Graph, Shape, Step, Value
from bireal_plugin.export.c.moves import expanded, in_order, one_image
from bireal_plugin.export.nodes import LayerWriter

# From an operation on (x, v) to that on (v, x) with the same result.
TURNED = dict(ADD='ADD', MUL='MUL', MAX='MAX', MIN='MIN', SUB='RSUB', DIV='RDIV')


def arithmetic(operation: str) -> LayerWriter:
    """An operation of two tensors, of which one may be a constant or a number."""

    def layer(graph: Graph, shape: Sequence[int], x: Any, y: Any) -> Value:
        return combined(graph, operation, shape, x, y)

    return layer


def activation(operation: str, number: float = 0.0) -> LayerWriter:
    """An operation of one tensor and a number."""

    def layer(graph: Graph, shape: Sequence[int], x: Value) -> Value:
        return applied(graph, x, operation, number)

    return layer


def applied(graph: Graph, x: Value, operation: str, number: float = 0.0) -> Value:
    """A step on ``x`` with a number."""
    return _map(graph, x, Step(operation, 'NUMBER', _finite(number)))


def combined(graph: Graph, operation: str, shape: Sequence[int], x: Any, y: Any) -> Value:
    """``x operation y``, broadcast to PyTorch's ``shape``."""
    inner = tuple(shape[1:])
    if not isinstance(x, Value) or (isinstance(y, Value) and x.shape != inner and y.shape == inner):
        operation, x, y = TURNED[operation], y, x
    for value in (x, y):
        if isinstance(value, Value) and len(value.shape) != len(inner):
            met, rank = len(value.shape) + 1, len(shape)
            raise InputError(f'a tensor of {met} dimensions meets one of {rank}; view it with {rank}')
    if x.shape != inner:
        x = expanded(graph, x, inner)
    if isinstance(y, (int, float)):
        return applied(graph, x, operation, float(y))
    kind, operand = _of_value(graph, x, y) if isinstance(y, Value) else _of_constant(x, one_image(y, shape))
    return _map(graph, x, Step(operation, kind, operand))


def clamp(graph: Graph, shape: Sequence[int], x: Value, low: Any = None, high: Any = None) -> Value:
    """``min(max(x, low), high)``; either bound may be left out."""
    for operation, bound in (('MAX', low), ('MIN', high)):
        if bound is not None:
            x = combined(graph, operation, shape, x, bound)
    return x


def leaky_relu(graph: Graph, shape: Sequence[int], x: Value, slope: float = 0.01) -> Value:
    """``x`` where it is positive, ``slope x`` elsewhere."""
    return applied(graph, x, 'PRELU', slope)


def prelu(graph: Graph, shape: Sequence[int], x: Value, slope: Tensor) -> Value:
    """``x`` where it is positive, ``slope x`` elsewhere; one slope per channel, or one for all."""
    return combined(graph, 'PRELU', shape, x, slope.reshape(-1, *[1] * (len(shape) - 2)))


def channels_of(x: Value) -> int:
    """The number of elements of the fastest dimension, by which a map counts channels."""
    return x.shape[x.layout[-1]] if x.layout else 1


def _map(graph: Graph, x: Value, step: Step) -> Value:
    channels = channels_of(x)
    out = Buffer(x.buffer.size)
    graph.calls.append(Call('map', out, out.size // channels, channels, [x.buffer], steps=[step]))
    return Value(out, x.shape, x.order)


def _of_constant(x: Value, array: np.ndarray) -> tuple[Shape, float | np.ndarray]:
    """Kind and numbers of a constant of the shape of ``x``."""
    array = np.ascontiguousarray(array.transpose(x.order), np.float32)
    bits = array.view(np.uint32)
    varying = [x.order[axis] for axis in range(bits.ndim) if (bits != bits.take([0], axis)).any()]
    kind = _kind(x, varying)
    if kind == 'NUMBER':
        return kind, float(array.flat[0]) if array.size else 0.0
    table = array.reshape(-1, channels_of(x))
    return kind, {'CHANNEL': table[0], 'PIXEL': table[:, 0], 'MAP': table.reshape(-1)}[kind].copy()


def _of_value(graph: Graph, x: Value, y: Value) -> tuple[Shape, Buffer]:
    """Kind and buffer of a value that is broadcast to the shape of ``x``."""
    kind = _kind(x, [dim for dim in x.layout if y.shape[dim] > 1])
    if kind == 'NUMBER':  # one that is not known before the network runs
        kind = 'PIXEL' if x.layout else 'MAP'
    fastest = x.layout[-1] if x.layout else 0
    seen = {
        'CHANNEL': [dim == fastest for dim in range(len(x.shape))],
        'PIXEL': [dim != fastest for dim in range(len(x.shape))],
        'MAP': [True] * len(x.shape),
    }[kind]
    wanted = tuple(size if there else 1 for size, there in zip(x.shape, seen, strict=True))
    if y.shape != wanted:
        y = expanded(graph, y, wanted)
    return kind, in_order(graph, y, x.order).buffer


def _kind(x: Value, varying: Sequence[int]) -> Shape:
    """Storage of an operand that varies along some dimensions of ``x``."""
    if not varying:
        return 'NUMBER'
    fastest = x.layout[-1]
    return 'PIXEL' if fastest not in varying else 'CHANNEL' if len(varying) == 1 else 'MAP'


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise InputError(f'the number {number} is not exported')
    return number
