"""From a folded network to an ONNX model, first half, for the engines ONNX and QONNX: PyTorch's exporter.

It translates everything real. Each ``bireal::binary_conv2d`` stays one node, which the exporter's optimizer can neither
fold nor unpack; ``lower.py`` then puts operators in its place. Imports onnx at once: reach it through the engines.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from onnx import ModelProto
from onnx.defs import OpSchema
from onnxscript.values import Op, Opset
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.onnx.file import IR_VERSION
from bireal_plugin.export.session_io import first_line

# PyTorch's translations are written for opset 18, which every runtime has since 2023 (onnx 1.13).
OPSET = 18
DOMAIN, OPERATOR = 'bireal', 'BinaryConv2d'
AXES = ('batch', 'channels', 'height', 'width')


def trace(model: nn.Module, example_shape: Sequence[int], *, dynamic: bool) -> ModelProto:
    """The network in evaluation mode as an ONNX model, 1-bit convolutions being ``bireal.BinaryConv2d`` nodes.

    Args:
        example_shape: ``(N, C, H, W)`` float32.
        dynamic: leave the batch open, and height and width too unless the network's code fixes them. Otherwise every
            shape in the graph is a number.

    Raises:
        InputError: the shape is none of an image batch, the network is not folded, or PyTorch cannot export it.
    """
    shape = tuple(int(size) for size in example_shape)
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(f'the example shape is (N, C, H, W) with positive sizes, not {tuple(example_shape)}')
    for name, module in model.named_modules():
        if isinstance(module, BinaryConv2d):
            raise InputError(f'{name or "the network"} is a BinaryConv2d still; export the result of fold(model)')
    dim = torch.export.Dim
    open_axes = ({0: dim.DYNAMIC, 2: dim.AUTO, 3: dim.AUTO},) if dynamic else None
    # torch.export takes a size of 1 for a constant.
    example = torch.zeros((max(shape[0], 2), *shape[1:]) if dynamic else shape)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)  # PyTorch's, about its own code
            program = torch.export.export(model.eval(), (example,), dynamic_shapes=open_axes)
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table={torch.ops.bireal.binary_conv2d.default: _binary_conv2d},
                verbose=False,
            )
    except RuntimeError as error:
        raise InputError(
            f'PyTorch cannot export this network for inputs of shape {shape}: {first_line(error)}'
        ) from error
    assert exported is not None
    return _bare(exported.model_proto)


def _binary_conv2d(
    x: Any, packed: Any, scale: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    formal, attribute, kind = OpSchema.FormalParameter, OpSchema.Attribute, OpSchema.AttrType
    schema = OpSchema(
        OPERATOR,
        DOMAIN,
        1,
        inputs=[
            formal('x', 'tensor(float)'),
            formal('packed_weight', 'tensor(uint8)'),
            formal('scale', 'tensor(float)'),
            formal('bias', 'tensor(float)'),
        ],
        outputs=[formal('y', 'tensor(float)')],
        attributes=[
            *(attribute(name, kind.INTS) for name in ('strides', 'pads', 'dilations')),
            *(attribute(name, kind.INT) for name in ('group', 'in_channels')),
        ],
    )
    operator = Op(Opset(DOMAIN, 1), OPERATOR, schema)
    geometry = dict(strides=list(stride), pads=[*padding, *padding], dilations=list(dilation), group=groups)
    return operator(x, packed, scale, bias, in_channels=int(x.shape[1]), **geometry)


def _bare(model: ModelProto) -> ModelProto:
    """Without what the exporter notes about its source (stack traces), and with axes named for what they are."""
    graph = model.graph
    symbols: dict[str, str] = {}
    for name, dim in zip(AXES, graph.input[0].type.tensor_type.shape.dim, strict=True):
        symbols.setdefault(dim.dim_param, name)
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
