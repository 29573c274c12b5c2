"""From an exported program to a TFLite graph: one walk over its nodes, and the table of what each becomes.

Nodes that depend on no input (a parameter viewed as ``(C, 1, 1)``) are computed here and become constants.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite import elementwise, layers, shapes
from bireal_plugin.export.tflite.binary import binary_conv2d
from bireal_plugin.export.tflite.elementwise import LayerWriter, activation, arithmetic
from bireal_plugin.export.tflite.graph import Graph, GraphTensor, stored_shape

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
# What PyTorch expresses by the operators above.
EXPRESSED = (aten.rsub.Scalar, aten.transpose.int)
UNCHANGED = (aten.clone.default, aten.alias.default, aten.contiguous.default, aten.detach.default)
CHECKS = (aten._assert_tensor_metadata.default,)
CONSTANTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


@torch.no_grad()
def translate(program: ExportedProgram) -> Graph:
    """The TFLite graph of a program with one float32 input.

    Raises:
        InputError: an operator has no form here; it names the operator and the module it came from.
    """
    known = torch.export.default_decompositions()
    program = program.run_decompositions({operator: known[operator] for operator in EXPRESSED})
    graph = Graph()
    values: dict[fx.Node, Any] = {}
    placeholders = _constants(program)
    for node in program.graph.nodes:
        if node.op == 'placeholder':
            is_input = node.name not in placeholders
            values[node] = graph.input(stored_shape(node.meta['val'].shape)) if is_input else placeholders[node.name]
        elif node.op == 'call_function' and node.target not in CHECKS:
            values[node] = _value(graph, node, values)
        elif node.op == 'output':
            outputs: list[Any] = [values.get(output) for output in node.args[0]]
            if not all(isinstance(output, GraphTensor) for output in outputs):
                raise InputError('an output of the network does not depend on its input, which TFLite has no form for')
            graph.outputs += [output.index for output in outputs]
    return graph


def _constants(program: ExportedProgram) -> dict[str, Tensor]:
    """Parameters, buffers and constants by the name of their placeholder."""
    found = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind in CONSTANTS:
            source = program.state_dict if spec.target in program.state_dict else program.constants
            found[spec.arg.name] = source[spec.target].detach()
    return found


def _value(graph: Graph, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    args: Any
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    if not any(isinstance(values[source], GraphTensor) for source in node.all_input_nodes):
        return node.target(*args, **kwargs)  # type: ignore[operator]
    if node.target in UNCHANGED:
        return args[0]
    if node.target not in LAYERS:
        raise InputError(f'TFLite has no form for {_place(node)}; export its part of the network to another format')
    result = node.meta['val']
    if result.dtype is not torch.float32:
        raise InputError(f'{_place(node)} gives {result.dtype}; TFLite models are exported in float32')
    try:
        output = LAYERS[node.target](graph, tuple(result.shape), *args, **kwargs)
    except InputError as error:
        raise InputError(f'{_place(node)}: {error}') from error
    if node.target is torch.ops.bireal.binary_conv2d.default:
        graph.layers.append((args[0].index, output.index))
    return output


def _place(node: fx.Node) -> str:
    """The operator of a node and the module it came from, in words."""
    stack = [*(node.meta.get('nn_module_stack') or {}).values()]
    path, kind = stack[-1] if stack else ('', '')
    kind = (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
    return f'{node.target} of {path or "the network itself"} ({kind})'
