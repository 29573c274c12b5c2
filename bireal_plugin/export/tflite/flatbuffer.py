"""A ``Graph`` as the flatbuffer of TFLite's schema, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bireal_plugin.errors import require
from bireal_plugin.export.tflite.graph import Graph, GraphTensor, Operator
from bireal_plugin.hosts.flatbuffers_private import byte_vector

IDENTIFIER = b'TFL3'
SCHEMA_VERSION = 3
# Interpreters map the file into memory and compute on constants where they lie.
ALIGNMENT = 16
# Values above 127 did not fit the schema's first field for the operator's number, which old readers still look at.
LAST_OLD_OPERATOR = 127

# The table of the schema that holds a builtin operator's options; operators that are not here have none.
OPTIONS = {
    'ADD': 'AddOptions',
    'AVERAGE_POOL_2D': 'Pool2DOptions',
    'CONCATENATION': 'ConcatenationOptions',
    'CONV_2D': 'Conv2DOptions',
    'DIV': 'DivOptions',
    'FULLY_CONNECTED': 'FullyConnectedOptions',
    'GATHER': 'GatherOptions',
    'LEAKY_RELU': 'LeakyReluOptions',
    'MAXIMUM': 'MaximumMinimumOptions',
    'MAX_POOL_2D': 'Pool2DOptions',
    'MEAN': 'ReducerOptions',
    'MINIMUM': 'MaximumMinimumOptions',
    'MIRROR_PAD': 'MirrorPadOptions',
    'MUL': 'MulOptions',
    'PAD': 'PadOptions',
    'PADV2': 'PadV2Options',
    'RESHAPE': 'ReshapeOptions',
    'RESIZE_BILINEAR': 'ResizeBilinearOptions',
    'RESIZE_NEAREST_NEIGHBOR': 'ResizeNearestNeighborOptions',
    'SLICE': 'SliceOptions',
    'SOFTMAX': 'SoftmaxOptions',
    'SUB': 'SubOptions',
    'TRANSPOSE': 'TransposeOptions',
}
# The first version of an operator that has the options used here, where that is not 1.
VERSIONS = {'RESIZE_BILINEAR': 3, 'RESIZE_NEAREST_NEIGHBOR': 3}
GROUPED_CONV_VERSION = 6


def packages() -> tuple[Any, Any]:
    """The packages ``flatbuffers`` and ``tflite`` (the schema; no TensorFlow).

    Raises:
        InputError: one is not installed.
    """
    require('flatbuffers', 'tflite', engine='tflite')
    import flatbuffers
    import tflite

    return flatbuffers, tflite


def flatbuffer(graph: Graph, notes: Mapping[str, bytes]) -> bytes:
    """The file's content.

    Args:
        notes: buffers for the model's metadata, by their names.
    """
    flatbuffers, tflite = packages()
    builder = flatbuffers.Builder(sum(array.nbytes for array in graph.constants.values()) + (1 << 16))
    # The first buffer is empty by the schema's convention; tensors that are computed point there.
    buffers = [_buffer(builder, tflite, b'')]
    places = {}
    for index, array in graph.constants.items():
        places[index] = len(buffers)
        buffers.append(_buffer(builder, tflite, array.astype(array.dtype.newbyteorder('<')).tobytes()))
    note_places = {}
    for name, content in notes.items():
        note_places[name] = len(buffers)
        buffers.append(_buffer(builder, tflite, content))

    codes = sorted({_code(graph, operator) for operator in graph.operators})
    subgraph = _subgraph(builder, tflite, graph, places, codes)
    metadata = _offsets(builder, [_metadata(builder, tflite, name, place) for name, place in note_places.items()])
    code_vector = _offsets(builder, [_operator_code(builder, tflite, *code) for code in codes])
    subgraphs, buffer_vector = _offsets(builder, [subgraph]), _offsets(builder, buffers)
    description = builder.CreateString('written by bireal_plugin')
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, SCHEMA_VERSION)
    tflite.ModelAddOperatorCodes(builder, code_vector)
    tflite.ModelAddSubgraphs(builder, subgraphs)
    tflite.ModelAddDescription(builder, description)
    tflite.ModelAddBuffers(builder, buffer_vector)
    tflite.ModelAddMetadata(builder, metadata)
    builder.Finish(tflite.ModelEnd(builder), IDENTIFIER)
    return bytes(builder.Output())


def _metadata(builder: Any, tflite: Any, name: str, place: int) -> int:
    text = builder.CreateString(name)
    tflite.MetadataStart(builder)
    tflite.MetadataAddName(builder, text)
    tflite.MetadataAddBuffer(builder, place)
    return tflite.MetadataEnd(builder)


def _code(graph: Graph, operator: Operator) -> tuple[str, int]:
    """Kind and version; operators that share both share an entry of the file's table."""
    if operator.kind == 'CONV_2D':
        x, weight = (graph.tensors[i] for i in operator.inputs[:2])
        return operator.kind, GROUPED_CONV_VERSION if x.shape[3] != weight.shape[3] else 1
    return operator.kind, VERSIONS.get(operator.kind, 1)


def _operator_code(builder: Any, tflite: Any, kind: str, version: int) -> int:
    custom = kind.startswith('Lce')
    number = tflite.BuiltinOperator.CUSTOM if custom else getattr(tflite.BuiltinOperator, kind)
    name = builder.CreateString(kind) if custom else None
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(number, LAST_OLD_OPERATOR))
    if name is not None:
        tflite.OperatorCodeAddCustomCode(builder, name)
    tflite.OperatorCodeAddVersion(builder, version)
    tflite.OperatorCodeAddBuiltinCode(builder, number)
    return tflite.OperatorCodeEnd(builder)


def _subgraph(builder: Any, tflite: Any, graph: Graph, places: dict[int, int], codes: list[tuple[str, int]]) -> int:
    tensors = _offsets(builder, [_tensor(builder, tflite, tensor, places) for tensor in graph.tensors])
    operators = _offsets(
        builder,
        [_operator(builder, tflite, operator, codes.index(_code(graph, operator))) for operator in graph.operators],
    )
    inputs, outputs = (builder.CreateNumpyVector(np.array(v, np.int32)) for v in (graph.inputs, graph.outputs))
    name = builder.CreateString('main')
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddInputs(builder, inputs)
    tflite.SubGraphAddOutputs(builder, outputs)
    tflite.SubGraphAddOperators(builder, operators)
    tflite.SubGraphAddName(builder, name)
    return tflite.SubGraphEnd(builder)


def _tensor(builder: Any, tflite: Any, tensor: GraphTensor, places: dict[int, int]) -> int:
    shape = builder.CreateNumpyVector(np.array(tensor.shape, np.int32))
    name = builder.CreateString(f'{"constant" if tensor.index in places else "tensor"}_{tensor.index}')
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, shape)
    tflite.TensorAddType(builder, getattr(tflite.TensorType, tensor.dtype.upper()))
    tflite.TensorAddBuffer(builder, places.get(tensor.index, 0))
    tflite.TensorAddName(builder, name)
    return tflite.TensorEnd(builder)


def _operator(builder: Any, tflite: Any, operator: Operator, code: int) -> int:
    inputs = builder.CreateNumpyVector(np.array(operator.inputs, np.int32))
    outputs = builder.CreateNumpyVector(np.array([operator.output], np.int32))
    table = OPTIONS.get(operator.kind, '')
    options = custom = None
    if table:
        getattr(tflite, f'{table}Start')(builder)
        for name, value in operator.options.items():
            getattr(tflite, f'{table}Add{name.title().replace("_", "")}')(builder, value)
        options = getattr(tflite, f'{table}End')(builder)
    elif operator.custom and operator.options:
        custom = builder.CreateByteVector(_flexbuffer(operator.options))
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, code)
    tflite.OperatorAddInputs(builder, inputs)
    tflite.OperatorAddOutputs(builder, outputs)
    if options is not None:
        tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, table))
        tflite.OperatorAddBuiltinOptions(builder, options)
    if custom is not None:
        tflite.OperatorAddCustomOptions(builder, custom)
    return tflite.OperatorEnd(builder)


def _flexbuffer(options: dict[str, int]) -> bytes:
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in options.items():
            builder.Int(key, int(value))
    return bytes(builder.Finish())


def _buffer(builder: Any, tflite: Any, data: bytes) -> int:
    vector = byte_vector(builder, data, alignment=ALIGNMENT) if data else None
    tflite.BufferStart(builder)
    if vector is not None:
        tflite.BufferAddData(builder, vector)
    return tflite.BufferEnd(builder)


def _offsets(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
