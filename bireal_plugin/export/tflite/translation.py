"""From an exported program to a TFLite graph: what each of its nodes becomes."""

from __future__ import annotations

from functools import partial

from torch.export import ExportedProgram

from bireal_plugin.export.nodes import LayerWriter, table
from bireal_plugin.export.tflite import elementwise, layers, shapes
from bireal_plugin.export.tflite.binary import binary_conv2d
from bireal_plugin.export.tflite.elementwise import activation, arithmetic
from bireal_plugin.export.tflite.graph import Graph, GraphTensor, stored_shape
from bireal_plugin.export.walk import expressed, walk

KINDS = dict(abs='ABS', neg='NEG', relu='RELU', relu6='RELU6', sigmoid='LOGISTIC', tanh='TANH', elu='ELU')
WRITERS: dict[str, LayerWriter] = dict(
    binary_conv2d=binary_conv2d,
    conv2d=layers.conv2d,
    linear=layers.linear,
    max_pool2d=layers.max_pool2d,
    avg_pool2d=layers.avg_pool2d,
    adaptive_avg_pool2d=layers.adaptive_avg_pool2d,
    mean=layers.mean,
    upsample_nearest2d=layers.upsample_nearest2d,
    upsample_bilinear2d=layers.upsample_bilinear2d,
    **{kind.lower(): arithmetic(kind) for kind in ('ADD', 'SUB', 'MUL', 'DIV')},
    **{name: activation(kind) for name, kind in KINDS.items()},
    clamp=elementwise.clamp,
    hardtanh=elementwise.clamp,
    leaky_relu=elementwise.leaky_relu,
    prelu=elementwise.prelu,
    softmax=elementwise.softmax,
    cut=shapes.cut,
    zeros=shapes.zeros,
    cat=shapes.concatenate,
    pad=shapes.pad,
    reshape=shapes.reshape,
    permute=shapes.permute,
)


def translate(program: ExportedProgram) -> Graph:
    """The TFLite graph of a program.

    Raises:
        InputError: an operator has no form here; it names the operator and the module it came from.
    """
    graph = Graph()
    written = table({name: partial(writer, graph) for name, writer in WRITERS.items()})
    outputs = walk(
        expressed(program, written),
        written,
        lambda shape: graph.input(stored_shape(shape)),
        computed=GraphTensor,
        engine='TFLite',
    )
    graph.outputs += [output.index for output in outputs]
    return graph
