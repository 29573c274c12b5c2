"""Element by element: arithmetic and activations. Called as in ``layers.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite.graph import Graph, GraphTensor, operand, require_constant, stored_axis, stored_shape

LayerWriter = Callable[..., GraphTensor]


def arithmetic(kind: str) -> LayerWriter:
    """ADD, SUB, MUL or DIV of two tensors, of which one may be a constant or a number."""

    def layer(graph: Graph, shape: Sequence[int], x: Any, y: Any, *, alpha: float = 1) -> GraphTensor:
        if alpha != 1:
            raise InputError(f'alpha={alpha} is not exported; multiply the second operand by it')
        operands = [operand(graph, value, len(shape)) for value in (x, y)]
        # A sum of two numbers is -0.0 only where both are; a difference only where the first is.
        deciding = {'ADD': operands, 'SUB': operands[:1]}.get(kind)
        negative_zero = deciding is None or all(value.negative_zero for value in deciding)
        return graph.add(kind, operands, stored_shape(shape), negative_zero=negative_zero)

    return layer


def activation(kind: str) -> LayerWriter:
    """An operator of one tensor that has no options."""

    def layer(graph: Graph, shape: Sequence[int], x: GraphTensor) -> GraphTensor:
        return graph.add(kind, (x,), x.shape)

    return layer


def clamp(graph: Graph, shape: Sequence[int], x: GraphTensor, low: Any = None, high: Any = None) -> GraphTensor:
    """``min(max(x, low), high)``; either bound may be left out."""
    for kind, bound in (('MAXIMUM', low), ('MINIMUM', high)):
        if bound is not None:
            x = graph.add(kind, (x, operand(graph, bound, len(shape))), x.shape)
    return x


def leaky_relu(graph: Graph, shape: Sequence[int], x: GraphTensor, slope: float = 0.01) -> GraphTensor:
    """``x`` where it is positive, ``slope x`` elsewhere."""
    return graph.add('LEAKY_RELU', (x,), x.shape, alpha=float(slope))


def elu(
    graph: Graph, shape: Sequence[int], x: GraphTensor, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> GraphTensor:
    """ELU with its usual parameters."""
    if (alpha, scale, input_scale) != (1, 1, 1):
        raise InputError(f'ELU is exported with alpha=1, not with alpha={alpha}, scale={scale} * {input_scale}')
    return graph.add('ELU', (x,), x.shape)


def prelu(graph: Graph, shape: Sequence[int], x: GraphTensor, slope: Tensor) -> GraphTensor:
    """``x`` where it is positive, ``slope x`` elsewhere; one slope per channel, or one for all."""
    require_constant('slope', slope)
    values = np.broadcast_to(slope.numpy(), (shape[1],))
    return graph.add('PRELU', (x, graph.constant(values.reshape((1,) * (len(shape) - 2) + values.shape))), x.shape)


def softmax(graph: Graph, shape: Sequence[int], x: GraphTensor, dim: int, dtype: Any = None) -> GraphTensor:
    """Softmax over the channels, which are stored last."""
    if stored_axis(dim, len(shape)) != len(shape) - 1:
        raise InputError(f'a softmax over dimension {dim} of {len(shape)} is not exported, only one over the channels')
    return graph.add('SOFTMAX', (x,), x.shape, beta=1.0)
