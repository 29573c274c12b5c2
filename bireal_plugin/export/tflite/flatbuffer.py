"""A ``Graph`` as the flatbuffer of TFLite's schema, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bireal_plugin.errors import require
from bireal_plugin.export.tflite.graph import Graph, GraphTensor, Operator
from bireal_plugin.hosts.engines_private import byte_vector

IDENTIFIER = b'TFL3'
SCHEMA_VERSION = 3
# Interpreters map the file into memory and compute on constants where they lie.
ALIGNMENT = 16
# Values above 127 did not fit the schema's first field for the operator's number, which old readers still look at.
LAST_OLD_OPERATOR = 127

# Tables of the schema for options of builtin operators, where their name is not the operator's with ``Options`` behind.
POOL, BOUND = 'Pool2DOptions', 'MaximumMinimumOptions'
OPTIONS = dict(AVERAGE_POOL_2D=POOL, MAX_POOL_2D=POOL, MAXIMUM=BOUND, MINIMUM=BOUND, MEAN='ReducerOptions')
OPTIONS['PADV2'] = 'PadV2Options'
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

    def numbers(self, values: Sequence[int]) -> int:
        """Offset of a vector of int32."""
        return self.builder.CreateNumpyVector(np.array(values, np.int32))

    def offsets(self, offsets: Sequence[int]) -> int:
        """Offset of a vector of tables."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()


def flatbuffer(graph: Graph, notes: Mapping[str, bytes]) -> bytes:
    """The file's content.

    Args:
        notes: buffers for the model's metadata, by their names.
    """
    writer = Writer(sum(array.nbytes for array in graph.constants.values()) + (1 << 16))
    text = writer.builder.CreateString
    # The first buffer is empty by the schema's convention; tensors that are computed point there.
    contents = [array.astype(array.dtype.newbyteorder('<')).tobytes() for array in graph.constants.values()]
    buffers = [
        writer.table('Buffer', Data=byte_vector(writer.builder, data, alignment=ALIGNMENT) if data else None)
        for data in (b'', *contents, *notes.values())
    ]
    places = {index: place for place, index in enumerate(graph.constants, start=1)}
    codes = sorted({_code(graph, operator) for operator in graph.operators})
    operators = [_operator(writer, operator, codes.index(_code(graph, operator))) for operator in graph.operators]
    subgraph = writer.table(
        'SubGraph',
        Tensors=writer.offsets([_tensor(writer, tensor, places) for tensor in graph.tensors]),
        Inputs=writer.numbers(graph.inputs),
        Outputs=writer.numbers(graph.outputs),
        Operators=writer.offsets(operators),
        Name=text('main'),
    )
    named = [
        writer.table('Metadata', Name=text(name), Buffer=place)
        for place, name in enumerate(notes, start=1 + len(places))
    ]
    model = writer.table(
        'Model',
        Version=SCHEMA_VERSION,
        OperatorCodes=writer.offsets([_operator_code(writer, *code) for code in codes]),
        Subgraphs=writer.offsets([subgraph]),
        Description=text('written by bireal_plugin'),
        Buffers=writer.offsets(buffers),
        Metadata=writer.offsets(named),
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
        CustomCode=writer.builder.CreateString(kind) if custom else None,
        Version=version,
        BuiltinCode=number,
    )


def _tensor(writer: Writer, tensor: GraphTensor, places: dict[int, int]) -> int:
    return writer.table(
        'Tensor',
        Shape=writer.numbers(tensor.shape),
        Type=getattr(writer.tflite.TensorType, tensor.dtype.upper()),
        Buffer=places.get(tensor.index, 0),
        Name=writer.builder.CreateString(f'{"constant" if tensor.index in places else "tensor"}_{tensor.index}'),
    )


def _operator(writer: Writer, operator: Operator, code: int) -> int:
    table = OPTIONS.get(operator.kind, f'{operator.kind.title().replace("_", "")}Options')
    kind = getattr(writer.tflite.BuiltinOptions, table, None)  # some operators have no options
    custom = operator.kind.startswith('Lce') and operator.options
    fields = {name.title().replace('_', ''): value for name, value in operator.options.items()}
    return writer.table(
        'Operator',
        OpcodeIndex=code,
        Inputs=writer.numbers(operator.inputs),
        Outputs=writer.numbers([operator.output]),
        BuiltinOptionsType=kind,
        BuiltinOptions=writer.table(table, **fields) if kind else None,
        CustomOptions=writer.builder.CreateByteVector(_flexbuffer(operator.options)) if custom else None,
    )


def _flexbuffer(options: dict[str, int]) -> bytes:
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in options.items():
            builder.Int(key, int(value))
    return bytes(builder.Finish())
