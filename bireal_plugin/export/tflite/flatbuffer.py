"""A ``Graph`` as the flatbuffer of TFLite's schema, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Writer:
    """Appends the tables of TFLite's schema to one flatbuffer; whatever a table points to comes before it.

    Args:
        size: bytes to begin with.
    """

    def __init__(self, size: int) -> None:
        flatbuffers, self.tflite = packages()
        self.builder = flatbuffers.Builder(size)

    def table(self, kind: str, **fields: Any) -> int:
        """Offset of a new table; fields are called as in the package ``tflite``, and left out where they are None."""
        getattr(self.tflite, f'{kind}Start')(self.builder)
        for name, value in fields.items():
            if value is not None:
                getattr(self.tflite, f'{kind}Add{name}')(self.builder, value)
        return getattr(self.tflite, f'{kind}End')(self.builder)

    def text(self, text: str) -> int:
        """Offset of a text."""
        return self.builder.CreateString(text)

    def numbers(self, values: Sequence[int]) -> int:
        """Offset of a vector of int32."""
        return self.builder.CreateNumpyVector(np.array(values, np.int32))

    def offsets(self, offsets: Sequence[int]) -> int:
        """Offset of a vector of tables."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def buffer(self, data: bytes) -> int:
        """Offset of a buffer, which is empty without ``data``."""
        return self.table('Buffer', Data=byte_vector(self.builder, data, alignment=ALIGNMENT) if data else None)


def flatbuffer(graph: Graph, notes: Mapping[str, bytes]) -> bytes:
    """The file's content.

    Args:
        notes: buffers for the model's metadata, by their names.
    """
    writer = Writer(sum(array.nbytes for array in graph.constants.values()) + (1 << 16))
    # The first buffer is empty by the schema's convention; tensors that are computed point there.
    contents = [array.astype(array.dtype.newbyteorder('<')).tobytes() for array in graph.constants.values()]
    buffers = [writer.buffer(content) for content in (b'', *contents, *notes.values())]
    places = {index: place for place, index in enumerate(graph.constants, start=1)}
    codes = sorted({_code(graph, operator) for operator in graph.operators})
    subgraph = _subgraph(writer, graph, places, codes)
    metadata = writer.offsets(
        [
            writer.table('Metadata', Name=writer.text(name), Buffer=place)
            for place, name in enumerate(notes, start=1 + len(places))
        ]
    )
    operator_codes = writer.offsets([_operator_code(writer, *code) for code in codes])
    subgraphs, buffer_vector = writer.offsets([subgraph]), writer.offsets(buffers)
    model = writer.table(
        'Model',
        Version=SCHEMA_VERSION,
        OperatorCodes=operator_codes,
        Subgraphs=subgraphs,
        Description=writer.text('written by bireal_plugin'),
        Buffers=buffer_vector,
        Metadata=metadata,
    )
    writer.builder.Finish(model, IDENTIFIER)
    return bytes(writer.builder.Output())


def _code(graph: Graph, operator: Operator) -> tuple[str, int]:
    """Kind and version; operators that share both share an entry of the file's table."""
    if operator.kind == 'CONV_2D':
        x, weight = (graph.tensors[i] for i in operator.inputs[:2])
        return operator.kind, GROUPED_CONV_VERSION if x.shape[3] != weight.shape[3] else 1
    return operator.kind, VERSIONS.get(operator.kind, 1)


def _operator_code(writer: Writer, kind: str, version: int) -> int:
    custom = kind.startswith('Lce')
    number = getattr(writer.tflite.BuiltinOperator, 'CUSTOM' if custom else kind)
    return writer.table(
        'OperatorCode',
        DeprecatedBuiltinCode=min(number, LAST_OLD_OPERATOR),
        CustomCode=writer.text(kind) if custom else None,
        Version=version,
        BuiltinCode=number,
    )


def _subgraph(writer: Writer, graph: Graph, places: dict[int, int], codes: list[tuple[str, int]]) -> int:
    tensors = writer.offsets([_tensor(writer, tensor, places) for tensor in graph.tensors])
    operators = writer.offsets(
        [_operator(writer, operator, codes.index(_code(graph, operator))) for operator in graph.operators]
    )
    return writer.table(
        'SubGraph',
        Tensors=tensors,
        Inputs=writer.numbers(graph.inputs),
        Outputs=writer.numbers(graph.outputs),
        Operators=operators,
        Name=writer.text('main'),
    )


def _tensor(writer: Writer, tensor: GraphTensor, places: dict[int, int]) -> int:
    return writer.table(
        'Tensor',
        Shape=writer.numbers(tensor.shape),
        Type=getattr(writer.tflite.TensorType, tensor.dtype.upper()),
        Buffer=places.get(tensor.index, 0),
        Name=writer.text(f'{"constant" if tensor.index in places else "tensor"}_{tensor.index}'),
    )


def _operator(writer: Writer, operator: Operator, code: int) -> int:
    table = OPTIONS.get(operator.kind)
    custom = operator.kind.startswith('Lce') and operator.options
    fields = {name.title().replace('_', ''): value for name, value in operator.options.items()}
    return writer.table(
        'Operator',
        OpcodeIndex=code,
        Inputs=writer.numbers(operator.inputs),
        Outputs=writer.numbers([operator.output]),
        BuiltinOptionsType=getattr(writer.tflite.BuiltinOptions, table) if table else None,
        BuiltinOptions=writer.table(table, **fields) if table else None,
        CustomOptions=writer.builder.CreateByteVector(_flexbuffer(operator.options)) if custom else None,
    )


def _flexbuffer(options: dict[str, int]) -> bytes:
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in options.items():
            builder.Int(key, int(value))
    return bytes(builder.Finish())
