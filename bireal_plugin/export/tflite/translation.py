"""From an exported program to a TFLite graph: the table of what each of its nodes becomes."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.export import ExportedProgram

from bireal_plugin.export.tflite import elementwise, layers, shapes
from bireal_plugin.export.tflite.binary import binary_conv2d
from bireal_plugin.export.tflite.elementwise import LayerWriter, activation, arithmetic
from bireal_plugin.export.tflite.graph import Graph, GraphTensor, stored_shape
from bireal_plugin.export.walk import expressed, walk

aten = torch.ops.aten

ARITHMETIC = dict(add='ADD', sub='SUB', mul='MUL', div='DIV')
ACTIVATIONS = dict(abs='ABS', neg='NEG', relu='RELU', relu6='RELU6', sigmoid='LOGISTIC', tanh='TANH')
RESHAPING = (aten.view.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default)

LAYERS: dict[Any, LayerWriter] = {
    torch.ops.bireal.binary_conv2d.default: binary_conv2d,
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
    **{getattr(aten, name).default: activation(kind) for name, kind in ACTIVATIONS.items()},
    aten.clamp.default: elementwise.clamp,
    aten.hardtanh.default: lambda graph, shape, x, low=-1, high=1: elementwise.clamp(graph, shape, x, low, high),
    aten.leaky_relu.default: elementwise.leaky_relu,
    aten.elu.default: elementwise.elu,
    aten.prelu.default: elementwise.prelu,
    aten.softmax.int: elementwise.softmax,
    aten.slice.Tensor: shapes.cut,
    aten.zeros_like.default: shapes.zeros,
    aten.new_zeros.default: shapes.zeros,
    aten.cat.default: shapes.concatenate,
    aten.pad.default: shapes.pad,
    **dict.fromkeys(RESHAPING, shapes.reshape),
    aten.permute.default: shapes.permute,
}


def translate(program: ExportedProgram) -> Graph:
    """The TFLite graph of a program.

    Raises:
        InputError: an operator has no form here; it names the operator and the module it came from.
    """
    graph = Graph()
    table = {operator: partial(layer, graph) for operator, layer in LAYERS.items()}
    outputs = walk(
        expressed(program), table, lambda shape: graph.input(stored_shape(shape)), computed=GraphTensor, engine='TFLite'
    )
    graph.outputs += [output.index for output in outputs]
    return graph
