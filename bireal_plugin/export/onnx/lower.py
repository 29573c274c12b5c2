"""From a folded network to an ONNX model, for the engines ONNX and QONNX.

PyTorch's exporter translates everything real. Each ``bireal::binary_conv2d`` stays one node ``BinaryConv2d``, which the
exporter's optimizer can neither fold nor unpack; then it becomes sign, Conv on a +-1 weight, Mul by the scale and Add
of the bias, where the engine chooses the operators of a sign. Weights are stored packed and unpacked by operators.
Imports onnx at once: reach it through the engines.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.defs import OpSchema, onnx_opset_version
from onnx.version_converter import convert_version
from onnxscript.values import Op, Opset
from torch import nn

from bireal_plugin.errors import InputError, first_line
from bireal_plugin.export.onnx.file import IR_VERSION, OPSET
from bireal_plugin.export.program import traced
from bireal_plugin.folding.operator import BITS, unpack_signs

DOMAIN, OPERATOR = 'bireal', 'BinaryConv2d'
AXES = ('batch', 'channels', 'height', 'width')


def trace(model: nn.Module, example_shape: Sequence[Any], *, dynamic: bool) -> ModelProto:
    """The network in evaluation mode as an ONNX model, 1-bit convolutions being ``bireal.BinaryConv2d`` nodes.

    Args:
        example_shape: ``(N, C, H, W)`` float32.
        dynamic: leave the batch open, and height and width too unless the network's code fixes them. Otherwise every
            shape in the graph is a number.

    Raises:
        InputError: the shape is none of an image batch, the network is not folded, or PyTorch cannot export it.
    """
    dim = torch.export.Dim
    open_axes = {0: dim.DYNAMIC, 2: dim.AUTO, 3: dim.AUTO} if dynamic else None
    program = traced(model, example_shape, open_axes=open_axes)
    table: dict[Any, Any] = {torch.ops.bireal.binary_conv2d.default: _binary_conv2d}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)  # PyTorch's, about its own code
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, custom_translation_table=table, verbose=False
            )
    except RuntimeError as error:
        raise InputError(f'PyTorch cannot export {type(model).__name__} to ONNX: {first_line(error)}') from error
    assert exported is not None
    return _bare(exported.model_proto)


def _binary_conv2d(
    x: Any, packed: Any, scale: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    formal, attribute, kind = OpSchema.FormalParameter, OpSchema.Attribute, OpSchema.AttrType
    types = dict(x='float', packed_weight='uint8', scale='float', bias='float')
    inputs = [formal(name, f'tensor({number})') for name, number in types.items()]
    attributes = [
        *(attribute(name, kind.INTS) for name in ('strides', 'pads', 'dilations')),
        *(attribute(name, kind.INT) for name in ('group', 'in_channels')),
    ]
    schema = OpSchema(OPERATOR, DOMAIN, 1, inputs=inputs, outputs=[formal('y', 'tensor(float)')], attributes=attributes)
    operator = Op(Opset(DOMAIN, 1), OPERATOR, schema)
    geometry = dict(strides=list(stride), pads=[*padding, *padding], dilations=list(dilation), group=groups)
    return operator(x, packed, scale, bias, in_channels=int(x.shape[1]), **geometry)


def _bare(model: ModelProto) -> ModelProto:
    """Without what the exporter notes about its source (stack traces), and with axes named for what they are."""
    graph = model.graph
    symbols: dict[str, str] = {}
    for place, value in enumerate(graph.input, start=1):
        for name, dim in zip(AXES, value.type.tensor_type.shape.dim, strict=True):
            symbols.setdefault(dim.dim_param, name if place == 1 else f'{name}_{place}')
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.isdecimal():  # PyTorch's way to write an open axis that turned out to be fixed
                dim.dim_value = int(dim.dim_param)
            elif dim.dim_param:
                dim.dim_param = re.sub(r'\w+', lambda word: symbols.get(word[0], word[0]), dim.dim_param)
    for item in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        item.ClearField('metadata_props')
        item.ClearField('doc_string')
    graph.ClearField('value_info')
    graph.name = 'bireal'
    model.ir_version = IR_VERSION
    return model


class Lowering:
    """The nodes and initializers of a model that is being rewritten; names made here hold a slash, PyTorch's none."""

    def __init__(self, model: ModelProto) -> None:
        self.given = {tensor.name: tensor for tensor in model.graph.initializer}
        self.made: dict[str, TensorProto] = {}
        self.nodes: list[NodeProto] = []
        self.outputs: set[str] = set()

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """The name of an initializer, made at its first use."""
        if name not in self.made:
            self.made[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node with one output, of which it also has its name; a node that is there already stays the only."""
        if output not in self.outputs:
            self.outputs.add(output)
            self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


Sign = Callable[[Lowering, str, str], str]


def lower(model: ModelProto, *, activation: Sign, weight: Sign) -> ModelProto:
    """``model`` with operators for every ``BinaryConv2d``, changed in place.

    Args:
        activation, weight: ``(lowering, value, output)``: append the nodes for the sign of a value, of which ``output``
            may be the name, and return the result's name. ``weight`` gets values that are +-1 already.
    """
    graph = model.graph
    lowering = Lowering(model)
    for node in graph.node:
        if node.domain == DOMAIN and node.op_type == OPERATOR:
            _lower_node(lowering, node, activation, weight)
        else:
            lowering.nodes.append(node)
    used = {name for node in lowering.nodes for name in node.input} | {value.name for value in graph.output}
    initializers = [tensor for name, tensor in (lowering.given | lowering.made).items() if name in used]
    for field, items in ((graph.node, lowering.nodes), (graph.initializer, initializers)):
        del field[:]
        field.extend(items)
    kept = [opset for opset in model.opset_import if opset.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def in_opset(model: ModelProto, opset: int) -> ModelProto:
    """``model`` in the operators of another opset, with onnx's own converter.

    Raises:
        InputError: onnx does not know the opset, or one of the operators has no form in it.
    """
    newest = onnx_opset_version()
    if not 1 <= opset <= newest:
        raise InputError(f'opset {opset} is not known to this onnx; give one of up to {newest}, such as {OPSET}')
    if opset == OPSET:
        return model
    for node in model.graph.node:
        kept = [each for each in node.attribute if each.name != 'noop_with_empty_axes' or each.i]
        if len(kept) < len(node.attribute):  # its default, which older opsets do not name
            del node.attribute[:]
            node.attribute.extend(kept)
    try:
        converted = convert_version(model, opset)
    except RuntimeError as error:
        reason = first_line(error).rpartition(': ')[2]
        raise InputError(f'the network has no form in opset {opset} ({reason}); give {OPSET} or a newer one') from error
    converted.ir_version = max(IR_VERSION, helper.find_min_ir_version_for(list(converted.opset_import)))
    return converted


def _lower_node(lowering: Lowering, node: NodeProto, activation: Sign, weight: Sign) -> None:
    x, packed, scale, bias = node.input
    y = node.output[0]
    geometry = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    channels = geometry.pop('in_channels') // geometry['group']
    values = {name: numpy_helper.to_array(lowering.given[name]) for name in (packed, scale, bias)}
    signs = unpack_signs(torch.from_numpy(values[packed].copy()), channels).numpy()
    geometry['kernel_shape'] = signs.shape[2:]
    kernel = weight(lowering, _unpacked(lowering, f'{packed}.{channels}', signs), f'{packed}.{channels}/bipolar')
    convolved = lowering.node('Conv', (activation(lowering, x, f'{x}/sign'), kernel), f'{y}/conv', **geometry)
    scale, bias = (
        lowering.constant(f'{name}/per_channel', values[name].reshape(1, -1, 1, 1)) for name in (scale, bias)
    )
    # The scale stands first: onnxruntime merges a Mul whose second operand is constant into the convolution's weights,
    # which then sums rounded numbers instead of integers.
    lowering.node('Add', (lowering.node('Mul', (scale, convolved), f'{y}/scaled'), bias), y)


def _unpacked(lowering: Lowering, name: str, signs: np.ndarray) -> str:
    """Operators that unpack ``signs`` ``(O, I / groups, kH, kW)``, which any runtime evaluates when it loads the file.

    Bits are stored in the order of the weight, least significant first, 1 being +1. So unpacking is a look-up in a
    table of 256 x 8 signs and a reshape.
    """
    bits = lowering.constant(f'{name}/bits', np.packbits(signs.ravel() > 0, bitorder='little'), np.uint8)
    bytes_ = np.arange(1 << BITS, dtype=np.uint8)[:, None]
    table = lowering.constant('/signs_of_byte', np.unpackbits(bytes_, axis=1, bitorder='little') * 2.0 - 1.0)
    index = lowering.node('Cast', (bits,), f'{name}/index', to=TensorProto.INT32)
    values = lowering.node('Gather', (table, index), f'{name}/values')
    if signs.size % BITS:
        flat = lowering.node('Reshape', (values, lowering.constant('/flat', [-1], np.int64)), f'{name}/padded')
        end = lowering.constant(f'{name}/end', [signs.size], np.int64)
        values = lowering.node('Slice', (flat, lowering.constant('/start', [0], np.int64), end), f'{name}/flat')
    shape = lowering.constant(f'{name}/shape', signs.shape, np.int64)
    return lowering.node('Reshape', (values, shape), f'{name}/signs')
