"""From an exported program to the calls of kernels: what each of its nodes becomes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch.export import ExportedProgram

from bireal_plugin.errors import InputError
from bireal_plugin.export.c import elementwise, layers, moves
from bireal_plugin.export.c.elementwise import activation, arithmetic
from bireal_plugin.export.c.graph import Graph, Value
from bireal_plugin.export.c.quantization import Range
from bireal_plugin.export.nodes import LayerWriter, table
from bireal_plugin.export.walk import walk

STEPS: dict[str, tuple[Any, ...]] = dict(
    abs=('ABS',), neg=('MUL', -1.0), relu=('MAX', 0.0), sigmoid=('SIGMOID',), tanh=('TANH',), exp=('EXP',), elu=('ELU',)
)
WRITERS: dict[str, LayerWriter] = dict(
    binary_conv2d=layers.binary_conv2d,
    conv2d=layers.conv2d,
    linear=layers.linear,
    max_pool2d=layers.max_pool2d,
    avg_pool2d=layers.avg_pool2d,
    adaptive_avg_pool2d=layers.adaptive_avg_pool2d,
    mean=layers.mean,
    upsample_nearest2d=layers.upsample_nearest2d,
    upsample_bilinear2d=layers.upsample_bilinear2d,
    **{kind.lower(): arithmetic(kind) for kind in ('ADD', 'SUB', 'MUL', 'DIV')},
    **{name: activation(*step) for name, step in STEPS.items()},
    relu6=partial(elementwise.clamp, low=0, high=6),
    clamp=elementwise.clamp,
    hardtanh=elementwise.clamp,
    leaky_relu=elementwise.leaky_relu,
    prelu=elementwise.prelu,
    softmax=layers.softmax,
    cut=moves.cut,
    zeros=moves.zeros,
    cat=moves.concatenate,
    pad=moves.pad,
    reshape=moves.reshape,
    permute=moves.permute,
    expand=moves.expand,
)
OPERATORS = frozenset(table(WRITERS))


def translate(program: ExportedProgram, ranges: Sequence[Range] = ()) -> Graph:
    """The graph of a program that was traced with one image.

    Args:
        program: as ``walk`` takes it. ranges: of the inputs of its real layers, for these in 8 bits.

    Raises:
        InputError: an operator has no form here; it names the operator and the module it came from.
    """
    graph = Graph(ranges=list(ranges))
    layers = table({name: partial(_written, writer, graph) for name, writer in WRITERS.items()})
    graph.outputs = walk(program, layers, graph.enter, computed=Value, engine='C')
    return graph


def _written(writer: LayerWriter, graph: Graph, shape: Sequence[int], *args: Any, **kwargs: Any) -> Any:
    if len(shape) < 2 or shape[0] != 1:
        raise InputError(f'of one image it gives a tensor of shape {tuple(shape)}, which has no batch in front')
    return writer(graph, shape, *args, **kwargs)
