"""Arguments of an ATen node as operands of a graph: numbers, constants and tensors that broadcast as stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite.graph import TO_STORED, Graph, GraphTensor


def operand(graph: Graph, value: Any, rank: int) -> GraphTensor:
    """A graph tensor as it is; a number or a constant so that it broadcasts against stored tensors of ``rank``."""
    if isinstance(value, GraphTensor):
        if len(value.shape) != rank:
            raise InputError(f'a tensor of {len(value.shape)} dimensions meets one of {rank}; view it with {rank}')
        return value
    if not isinstance(value, Tensor):
        return graph.constant(np.float32(value))
    values = array(value)
    values = values.reshape((1,) * (rank - values.ndim) + values.shape)
    return graph.constant(values.transpose(TO_STORED.get(rank, range(rank))))


def array(value: Tensor) -> np.ndarray:
    """A constant of the network as numpy has it."""
    return value.detach().cpu().numpy()


def require_constant(name: str, value: Any) -> None:
    """Refuse a weight that the network computes."""
    if not isinstance(value, Tensor):
        raise InputError(f'its {name} is computed from the input, where TFLite wants a constant')


def pair(value: Any) -> list[int]:
    """Rows and columns from ``v``, ``[v]`` or ``[rows, columns]``."""
    values = [value] if isinstance(value, int) else list(value)
    return [int(v) for v in (values * 2 if len(values) == 1 else values)]
