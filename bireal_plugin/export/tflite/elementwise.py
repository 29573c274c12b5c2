"""Element by element: arithmetic and activations. Called as in ``layers.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.export.nodes import LayerWriter
from bireal_plugin.export.tflite.graph import Graph, GraphTensor, operand, stored_axis, stored_shape


def arithmetic(kind: str) -> LayerWriter:
    """ADD, SUB, MUL or DIV of two tensors, of which one may be a constant or a number."""

    def layer(graph: Graph, shape: Sequence[int], x: Any, y: Any) -> GraphTensor:
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


def prelu(graph: Graph, shape: Sequence[int], x: GraphTensor, slope: Tensor) -> GraphTensor:
    """``x`` where it is positive, ``slope x`` elsewhere; one slope per channel, or one for all."""
    values = np.broadcast_to(slope.numpy(), (shape[1],))
    return graph.add('PRELU', (x, graph.constant(values.reshape((1,) * (len(shape) - 2) + values.shape))), x.shape)


def softmax(graph: Graph, shape: Sequence[int], x: GraphTensor, dim: int, dtype: Any = None) -> GraphTensor:
    """Softmax over the channels, which are stored last."""
    if stored_axis(dim, len(shape)) != len(shape) - 1:
        raise InputError(f'a softmax over dimension {dim} of {len(shape)} is not exported, only one over the channels')
    return graph.add('SOFTMAX', (x,), x.shape, beta=1.0)
