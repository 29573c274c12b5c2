"""The graph of an engine in C while it is built: feature maps of one image, and the calls of kernels between them.

A value is a PyTorch tensor without its batch. Its elements lie in a buffer in any order of the dimensions, so that
views, permutations and splits of channels cost nothing; kernels take channels last, ``(H, W, C)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.quantization import Range

Kernel = Literal[
    'binary_conv',
    'conv',
    'conv_winograd',
    'quantize',
    'conv_int8',
    'max_pool',
    'average_pool',
    'map',
    'nearest',
    'bilinear',
    'move',
]
REAL_CONVOLUTIONS: tuple[Kernel, ...] = ('conv', 'conv_winograd', 'conv_int8')
STORING: tuple[Kernel, ...] = ('quantize', 'move')  # which store what they make, without a tail
Shape = Literal['NUMBER', 'CHANNEL', 'PIXEL', 'MAP']
MapPrecision = Literal['f32', 'f16', 'bf16']  # of the numbers of feature maps in memory
LARGEST = 2**31 - 1  # of the sizes that kernels count in int


@dataclass(eq=False)
class Buffer:
    """Numbers of a feature map, or of a ``constant``."""

    size: int
    constant: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor: its ``shape`` in PyTorch without the batch, and its dimensions in ``order`` from slowest to fastest."""

    buffer: Buffer
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def layout(self) -> list[int]:
        """The dimensions of more than one element, from slowest to fastest."""
        return [dim for dim in self.order if self.shape[dim] > 1]

    @property
    def strides(self) -> list[int]:
        """Floats from one element to the next along each dimension."""
        return strides_of(self.shape, self.order)


def strides_of(shape: Sequence[int], order: Sequence[int]) -> list[int]:
    """Elements from one to the next along each dimension, of dimensions in ``order`` from slowest to fastest."""
    strides, step = [0] * len(shape), 1
    for dim in reversed(order):
        strides[dim], step = step, step * shape[dim]
    return strides


def channels_last(rank: int) -> tuple[int, ...]:
    """The order of a tensor that kernels take: that of a feature map (C, H, W) is (H, W, C)."""
    return (1, 2, 0) if rank == 3 else tuple(range(rank))


def settled(shape: Sequence[int], layout: Sequence[int]) -> tuple[int, ...]:
    """An order of all dimensions of ``shape`` with this layout, channels last where that is one."""
    usual = channels_last(len(shape))
    if [dim for dim in usual if shape[dim] > 1] == list(layout):
        return usual
    return (*(dim for dim in usual if shape[dim] == 1), *layout)


@dataclass(frozen=True)
class Window:
    """The fields of a ``br_window``, in its order."""

    rows: int
    columns: int
    channels: int
    out_rows: int
    out_columns: int
    out_channels: int
    kernel_rows: int = 1
    kernel_columns: int = 1
    row_stride: int = 1
    column_stride: int = 1
    top: int = 0
    left: int = 0
    row_dilation: int = 1
    column_dilation: int = 1
    groups: int = 1

    def reached_rows(self, out_rows: int) -> int:
        """``br_reached_rows``: rows that the windows of ``out_rows`` rows of the output reach."""
        return (out_rows - 1) * self.row_stride + (self.kernel_rows - 1) * self.row_dilation + 1

    @property
    def reached_columns(self) -> int:
        """``br_reached_columns``: columns that the windows reach."""
        return (self.out_columns - 1) * self.column_stride + (self.kernel_columns - 1) * self.column_dilation + 1

    @property
    def bytes(self) -> int:
        """``br_bytes``: the size of the input in 8 bits with the padding that the windows reach."""
        return self.reached_rows(self.out_rows) * self.reached_columns * self.channels + 3


@dataclass(frozen=True, eq=False)
class Step:
    """A ``br_step``: its operand is a number, an array, or a buffer."""

    operation: str
    shape: Shape = 'NUMBER'
    operand: float | np.ndarray | Buffer = 0.0


@dataclass(eq=False)
class Signs:
    """The sign map of ``source + shift``, of ``(pixels, channels)`` with words of its own for each group."""

    source: Buffer
    pixels: int
    channels: int
    groups: int
    shift: np.ndarray | None = None

    def row_words(self, pixels: int) -> int:
        """Words of some pixels."""
        return pixels * self.groups * math.ceil(self.channels / self.groups / 32)

    @property
    def words(self) -> int:
        return self.row_words(self.pixels)


@dataclass(frozen=True, eq=False)
class Piece:
    """A strided copy from ``source`` into a part of a buffer; places and strides in floats."""

    source: Buffer
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    out_strides: tuple[int, ...]
    start: int = 0
    out_start: int = 0


@dataclass(eq=False)
class Call:
    """A call of a kernel, which gives ``(pixels, channels)``.

    Attributes:
        inputs: feature maps that it reads; ``reads`` is the sign map of a 1-bit convolution instead.
        arrays: weights and the like, None where the kernel takes null.
        numbers: the kernel's own arguments in front of its arrays.
        out: the result behind all steps; ``stored`` says whether anybody reads it as floats.
        signs: sign map of the result that the kernel writes too.
        pieces: of 'move'.
        behind: of a pool, the convolution in front of it if the two take turns, ``band`` rows of the pool at a time;
            what lies between is the pool's input, a buffer of the rows that one band needs. See ``bands.h``.
    """

    kernel: Kernel
    out: Buffer
    pixels: int
    channels: int
    inputs: list[Buffer] = field(default_factory=list)
    window: Window | None = None
    arrays: list[np.ndarray | None] = field(default_factory=list)
    numbers: Sequence[int | float] = ()
    steps: list[Step] = field(default_factory=list)
    reads: Signs | None = None
    signs: Signs | None = None
    stored: bool = True
    pieces: list[Piece] = field(default_factory=list)
    behind: Call | None = None
    band: int = 0

    def operands(self) -> list[Buffer]:
        """Every buffer that the call reads, as often as it does, but for one that it fills itself."""
        steps = [step.operand for step in self.steps if isinstance(step.operand, Buffer)]
        inputs = self.inputs if self.behind is None else self.behind.operands()
        return [*inputs, *steps, *(piece.source for piece in self.pieces)]


@dataclass
class Graph:
    """Calls in the order in which they run.

    Attributes:
        layers: for each 1-bit convolution, its input and its call.
        ranges: of the inputs of the real layers that are still to come, if these are to be in 8 bits.
        maps: precision in which feature maps are stored; all is computed in float32.
    """

    input: Value | None = None
    outputs: list[Value] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    layers: list[tuple[Value, Call]] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    maps: MapPrecision = 'f32'

    @property
    def map_bytes(self) -> int:
        """Size of a number of a feature map."""
        return 4 if self.maps == 'f32' else 2

    def kept(self, values: np.ndarray) -> np.ndarray:
        """float32 numbers as feature maps have them: 16-bit ones as uint16 of their bits."""
        if self.maps == 'f32':
            return values
        dtype = torch.float16 if self.maps == 'f16' else torch.bfloat16
        return torch.tensor(values).to(dtype).view(torch.uint16).numpy()

    def enter(self, shape: Sequence[int]) -> Value:
        """The value of the network's input, of PyTorch's ``shape`` with the batch."""
        if self.input is not None:
            raise InputError('the network has several inputs, and a C file has one; export it to another format')
        self.input = new_value(shape[1:])
        return self.input

    def add(self, kernel: Kernel, shape: Sequence[int], inputs: Sequence[Value] = (), **options: Any) -> Value:
        """Append a call whose result has the ``shape`` ``(C, H, W)`` or ``(C,)``; its value, channels last."""
        value = new_value(shape)
        channels = shape[0] if len(shape) == 3 else shape[-1] if shape else 1
        buffers = [each.buffer for each in inputs]
        self.calls.append(
            Call(kernel, value.buffer, value.buffer.size // max(channels, 1), channels, buffers, **options)
        )
        return value

    def signs(self, x: Value, groups: int) -> Signs:
        """The sign map of a feature map, channels last."""
        channels = x.shape[0]
        return Signs(x.buffer, x.buffer.size // channels, channels, groups)

    def move(
        self, shape: Sequence[int], pieces: Sequence[tuple[Value, int, Sequence[int], int, Sequence[int]]]
    ) -> Value:
        """A tensor of ``shape``, channels last, filled piece by piece.

        Args:
            pieces: source, place and stride per dimension in it, place in the result, and sizes.
        """
        value = new_value(shape)
        call = Call('move', value.buffer, value.buffer.size, 1)
        for source, start, strides, out_start, sizes in pieces:
            call.pieces.append(
                Piece(source.buffer, tuple(sizes), tuple(strides), tuple(value.strides), start, out_start)
            )
        self.calls.append(call)
        return value


def new_value(shape: Sequence[int]) -> Value:
    """A value of ``shape`` in a new buffer, channels last."""
    size = math.prod(shape)
    if not 0 < size <= LARGEST:
        raise InputError(f'a tensor of shape {tuple(shape)} has {size} elements; kernels in C count 1 to {LARGEST}')
    return Value(Buffer(size), tuple(map(int, shape)), channels_last(len(shape)))


def constant_value(array: np.ndarray) -> Value:
    """A constant of PyTorch's shape without the batch."""
    shape = tuple(array.shape)
    return Value(Buffer(array.size, np.ascontiguousarray(array, np.float32)), shape, tuple(range(len(shape))))
