"""From an exported program to the calls of kernels: the table of what each of its nodes becomes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.export import ExportedProgram

from bireal_plugin.errors import InputError
from bireal_plugin.export.c import elementwise, layers, moves
from bireal_plugin.export.c.elementwise import activation, arithmetic
from bireal_plugin.export.c.graph import Graph, Value
from bireal_plugin.export.c.quantization import Range
from bireal_plugin.export.walk import LayerWriter, walk

aten = torch.ops.aten

ARITHMETIC = dict(add='ADD', sub='SUB', mul='MUL', div='DIV')
ACTIVATIONS: dict[str, tuple[Any, ...]] = dict(
    abs=('ABS',), neg=('MUL', -1.0), relu=('MAX', 0.0), sigmoid=('SIGMOID',), tanh=('TANH',), exp=('EXP',)
)
RESHAPING = (aten.view.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default)

LAYERS: dict[Any, LayerWriter] = {
    torch.ops.bireal.binary_conv2d.default: layers.binary_conv2d,
    aten.conv2d.default: layers.conv2d,
    aten.conv2d.padding: layers.conv2d,
    aten.linear.default: layers.linear,
    aten.max_pool2d.default: layers.max_pool2d,
    aten.avg_pool2d.default: layers.avg_pool2d,
    aten.adaptive_avg_pool2d.default: layers.adaptive_avg_pool2d,
    aten.mean.dim: layers.mean,
    aten.upsample_nearest2d.vec: layers.upsample_nearest2d,
    aten.upsample_bilinear2d.vec: layers.upsample_bilinear2d,
    **{getattr(aten, name).Tensor: arithmetic(kind) for name, kind in ARITHMETIC.items()},
    **{getattr(aten, name).default: activation(*step) for name, step in ACTIVATIONS.items()},
    aten.clamp.default: elementwise.clamp,
    aten.relu6.default: lambda graph, shape, x: elementwise.clamp(graph, shape, x, 0, 6),
    aten.hardtanh.default: lambda graph, shape, x, low=-1, high=1: elementwise.clamp(graph, shape, x, low, high),
    aten.leaky_relu.default: elementwise.leaky_relu,
    aten.elu.default: elementwise.elu,
    aten.prelu.default: elementwise.prelu,
    aten.softmax.int: layers.softmax,
    aten.slice.Tensor: moves.cut,
    aten.zeros_like.default: moves.zeros,
    aten.new_zeros.default: moves.zeros,
    aten.cat.default: moves.concatenate,
    aten.pad.default: moves.pad,
    **dict.fromkeys(RESHAPING, moves.reshape),
    aten.permute.default: moves.permute,
    aten.expand.default: moves.expand,
}


def translate(program: ExportedProgram, ranges: Sequence[Range] = ()) -> Graph:
    """The graph of a program that was traced with one image.

    Args:
        program: as ``walk`` takes it. ranges: of the inputs of its real layers, for these in 8 bits.

    Raises:
        InputError: an operator has no form here; it names the operator and the module it came from.
    """
    graph = Graph(ranges=list(ranges))
    table = {operator: partial(_written, layer, graph) for operator, layer in LAYERS.items()}
    graph.outputs = walk(program, table, graph.enter, computed=Value, engine='C')
    return graph


def _written(layer: LayerWriter, graph: Graph, shape: Sequence[int], *args: Any, **kwargs: Any) -> Any:
    if len(shape) < 2 or shape[0] != 1:
        raise InputError(f'of one image it gives a tensor of shape {tuple(shape)}, which has no batch in front')
    return layer(graph, shape, *args, **kwargs)
