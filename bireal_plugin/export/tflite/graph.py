"""A TFLite graph while it is built: tensors in TensorFlow's layout, constants, and the operators between them.

A tensor with four dimensions is stored as ``(N, H, W, C)`` and stands for PyTorch's ``(N, C, H, W)``; any other tensor
is stored as PyTorch has it. Nothing here knows a file format: ``file`` writes the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from torch import Tensor

from bireal_plugin.errors import InputError

DType = Literal['float32', 'int32']
# Where each of PyTorch's dimensions is found in a stored tensor of that rank, and the way back.
TO_STORED = {4: (0, 2, 3, 1)}
TO_TORCH = {4: (0, 3, 1, 2)}


@dataclass(frozen=True, eq=False)
class GraphTensor:
    """A tensor of the graph.

    Args:
        shape: as stored.
        negative_zero: some of its values may be -0.0, which LceQuantize on ARM takes for negative.
    """

    index: int
    shape: tuple[int, ...]
    dtype: DType
    negative_zero: bool


@dataclass(frozen=True)
class Operator:
    """One operator: a builtin of TFLite (``CONV_2D``) or a custom one of Larq (``LceBconv2d``), with its options."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: dict[str, Any]


@dataclass
class Graph:
    """Tensors and operators in the order in which they are computed.

    ``inputs`` and ``outputs`` are indices of tensors; ``layers`` holds those that go into and come out of each binary
    convolution.
    """

    tensors: list[GraphTensor] = field(default_factory=list)
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    layers: list[tuple[int, int]] = field(default_factory=list)
    _known: dict[tuple[Any, ...], GraphTensor] = field(default_factory=dict)

    def input(self, shape: Sequence[int]) -> GraphTensor:
        """A float32 input of the graph."""
        tensor = self._tensor(shape, 'float32', negative_zero=True)
        self.inputs.append(tensor.index)
        return tensor

    def constant(self, values: Any, dtype: DType = 'float32') -> GraphTensor:
        """A constant, shared with every equal one."""
        array = np.ascontiguousarray(values, dtype=dtype).reshape(np.shape(values))
        key = ('constant', dtype, array.shape, array.tobytes())
        if key not in self._known:
            negative_zero = dtype == 'float32' and bool(np.any(np.signbit(array) & (array == 0)))
            self._known[key] = self._tensor(array.shape, dtype, negative_zero=negative_zero)
            self.constants[self._known[key].index] = array
        return self._known[key]

    def add(
        self,
        kind: str,
        inputs: Sequence[GraphTensor | Sequence[Any] | np.ndarray | None],
        shape: Sequence[int],
        *,
        dtype: DType = 'float32',
        negative_zero: bool = True,
        **options: Any,
    ) -> GraphTensor:
        """Append an operator and give its output; an operator that is there already, on the same inputs, is shared.

        Args:
            inputs: None stands for an optional input that is left out, numbers for a constant of int32.
            shape: of the output, as stored.
            options: by the names of TFLite's schema in small letters (``stride_h``), or of Larq's flexbuffer.
        """
        given = [x if x is None or isinstance(x, GraphTensor) else self.constant(x, 'int32') for x in inputs]
        indices = tuple(-1 if tensor is None else tensor.index for tensor in given)
        key = (kind, indices, dtype, tuple(sorted(options.items())))
        if key not in self._known:
            self._known[key] = self._tensor(shape, dtype, negative_zero=negative_zero)
            self.operators.append(Operator(kind, indices, self._known[key].index, options))
        return self._known[key]

    def move(self, kind: str, x: GraphTensor, shape: Sequence[int], *operands: Any, **options: Any) -> GraphTensor:
        """As ``add``, for an operator that moves the elements of ``x``: its output has their type and zeros."""
        return self.add(kind, (x, *operands), shape, dtype=x.dtype, negative_zero=x.negative_zero, **options)

    def _tensor(self, shape: Sequence[int], dtype: DType, *, negative_zero: bool) -> GraphTensor:
        self.tensors.append(GraphTensor(len(self.tensors), tuple(map(int, shape)), dtype, negative_zero))
        return self.tensors[-1]


def stored_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape in which a tensor of PyTorch's ``shape`` is stored."""
    return tuple(shape[i] for i in TO_STORED.get(len(shape), range(len(shape))))


def stored_axis(axis: int, rank: int) -> int:
    """Stored dimension of PyTorch's dimension ``axis`` (negative: from the end) of a tensor of ``rank``."""
    return tuple(TO_STORED.get(rank, range(rank))).index(axis % rank)


def operand(graph: Graph, value: Any, rank: int) -> GraphTensor:
    """A graph tensor as it is; a number or a constant so that it broadcasts against stored tensors of ``rank``."""
    if isinstance(value, GraphTensor):
        if len(value.shape) != rank:
            raise InputError(f'a tensor of {len(value.shape)} dimensions meets one of {rank}; view it with {rank}')
        return value
    if not isinstance(value, Tensor):
        return graph.constant(np.float32(value))
    values = value.numpy()
    values = values.reshape((1,) * (rank - values.ndim) + values.shape)
    return graph.constant(values.transpose(TO_STORED.get(rank, range(rank))))
