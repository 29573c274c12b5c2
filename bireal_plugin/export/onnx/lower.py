"""From a folded network to an ONNX model, second half: operators in the place of ``BinaryConv2d`` nodes.

A 1-bit convolution becomes sign, Conv on a +-1 weight, Mul by the scale and Add of the bias; the engine chooses the
operators of a sign. Weights are stored packed and unpacked by operators. Imports onnx at once: reach it through the
engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from bireal_plugin.export.onnx.trace import DOMAIN, OPERATOR
from bireal_plugin.folding.operator import BITS, unpack_signs


class Lowering:
    """The nodes and initializers of a model that is being rewritten; names made here hold a slash, PyTorch's none."""

    def __init__(self, model: ModelProto) -> None:
        self.given = {tensor.name: tensor for tensor in model.graph.initializer}
        self.made: dict[str, TensorProto] = {}
        self.nodes: list[NodeProto] = []
        self.outputs: set[str] = set()

    def array(self, name: str) -> np.ndarray:
        """The values of an initializer of the traced graph."""
        return numpy_helper.to_array(self.given[name])

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


def _lower_node(lowering: Lowering, node: NodeProto, activation: Sign, weight: Sign) -> None:
    x, packed, scale, bias = node.input
    y = node.output[0]
    geometry = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    channels = geometry.pop('in_channels') // geometry['group']
    signs = unpack_signs(torch.from_numpy(lowering.array(packed).copy()), channels).numpy()
    geometry['kernel_shape'] = signs.shape[2:]
    kernel = weight(lowering, _unpacked(lowering, f'{packed}.{channels}', signs), f'{packed}.{channels}/bipolar')
    convolved = lowering.node('Conv', (activation(lowering, x, f'{x}/sign'), kernel), f'{y}/conv', **geometry)
    scale, bias = (
        lowering.constant(f'{name}/per_channel', lowering.array(name).reshape(1, -1, 1, 1)) for name in (scale, bias)
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
        start, end = (
            lowering.constant(key, [place], np.int64) for key, place in (('/start', 0), (f'{name}/end', signs.size))
        )
        values = lowering.node('Slice', (flat, start, end), f'{name}/flat')
    return lowering.node(
        'Reshape', (values, lowering.constant(f'{name}/shape', signs.shape, np.int64)), f'{name}/signs'
    )
