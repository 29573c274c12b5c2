"""ONNX and QONNX files on disk: written whole, with metadata, and with a checksum over every byte.

A file is a serialized ONNX model whose last entry in ``metadata_props`` is the SHA-256 of all bytes before that entry.
So any change is noticed before anything is parsed, and any other reader of ONNX sees an ordinary model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bireal_plugin.errors import InputError, require
from bireal_plugin.export.session_io import Choice
from bireal_plugin.version import __version__
from bireal_plugin.whole_file import whole

if TYPE_CHECKING:
    from onnx import ModelProto

PRODUCER = 'bireal-plugin'
# PyTorch's translations are written for opset 18, which every runtime has since 2023 (onnx 1.13).
OPSET, IR_VERSION = 18, 8
# Protocol buffers, wire type 2 (tag, length, bytes): metadata_props is field 14 of a model, key and value are 1 and 2.
METADATA, KEY, VALUE = b'\x72', b'\x0a', b'\x12'
# The entry of a tensor whose numbers lie in another file, which a file of ours never has.
ELSEWHERE = KEY + b'\x08location'
# Operators outside of ONNX's own that a file of ours may have. Runtimes import modules by the names of domains.
OPERATORS = {'': None, 'ai.onnx': None, 'qonnx.custom_op.general': ('BipolarQuant',)}


def write_model(model: ModelProto, path: Path, *, file_format: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``model`` to ``path`` with its metadata and checksum; the file appears whole or not at all.

    Args:
        file_format: 'bireal-onnx-1' or 'bireal-qonnx-1', kept with the checksum and asked for again when reading.
    """
    model.producer_name, model.producer_version = PRODUCER, __version__
    for key, value in dict(producer=PRODUCER, version=__version__, **(metadata or {})).items():
        model.metadata_props.add(key=key, value=value)
    body = model.SerializeToString(deterministic=True)
    with whole(path) as partial:
        partial.write_bytes(body + _seal(file_format, hashlib.sha256(body).hexdigest()))


def read_model(path: Path, *, file_format: str) -> bytes:
    """The bytes of the model in ``path``, as ``write_model`` wrote them.

    Raises:
        InputError: the file is missing, truncated, changed, or of another origin or format.
    """
    if not path.is_file():
        raise InputError(f'{path} does not exist or is no file')
    seal = len(_seal(file_format, hashlib.sha256().hexdigest()))
    body = path.stat().st_size - seal
    with path.open('rb') as file:
        # The end first: a foreign file is known as one before its size in memory is taken.
        file.seek(max(body, 0))
        found = file.read()
        if found[:-64] != _seal(file_format, '0' * 64)[:-64]:
            raise InputError(f'{path} is truncated, or was not written by this package as {file_format}; export again')
        file.seek(0)
        data = file.read(body)
    if found != _seal(file_format, hashlib.sha256(data).hexdigest()):
        raise InputError(f'{path} was changed after it was written: its checksum does not match; get it again')
    if ELSEWHERE in data:
        raise InputError(f'{path} takes numbers out of other files, which no exported network does; export it again')
    return data + found


def parsed(path: Path, *, file_format: str) -> ModelProto:
    """The model in ``path``, of known operators alone.

    Raises:
        InputError: as ``read_model``, or it is no model, or has an operator that no export writes.
    """
    require('onnx', engine='onnx')
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(read_model(path, file_format=file_format))
    except DecodeError as error:
        raise InputError(f'{path} is no ONNX model: {error}; export it again') from error
    for node in _nodes(model.graph):
        known = OPERATORS.get(node.domain, ())
        if model.functions or (known is not None and node.op_type not in known):
            raise InputError(
                f'{path} has the operator {node.domain}.{node.op_type} or functions of its own, which no export '
                'writes; export it again'
            )
    return model


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField('g') else ()), *attribute.graphs):
                yield from _nodes(inner)


def write_tapped(path: Path, target: Path, choice: Choice, *, file_format: str) -> int:
    """Write the file at ``path`` to ``target`` with the chosen tensors as further outputs; return their number.

    A layer is known by its operators, not by names: the operator that takes a sign, and the convolution behind it.
    """
    model = parsed(path, file_format=file_format)
    import onnx
    from onnx import helper

    graph = model.graph
    chosen = choice(list(_layers(graph)))
    types = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
    for i, value in enumerate(chosen):
        # A name of its own for each: one tensor may be read by several layers, or be an output already.
        model.graph.node.append(helper.make_node('Identity', [value], [f'tap/{i}']))
        unknown = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
        model.graph.output.append(helper.make_value_info(f'tap/{i}', types.get(value, unknown)))
    del model.metadata_props[:]
    write_model(model, target, file_format=file_format)
    return len(chosen)


def _seal(file_format: str, digest: str) -> bytes:
    entry = _field(KEY, f'{file_format} sha256'.encode()) + _field(VALUE, digest.encode())
    return _field(METADATA, entry)


def _field(tag: bytes, content: bytes) -> bytes:
    # One byte of length: everything here is shorter than 128 bytes.
    return tag + bytes([len(content)]) + content


def _layers(graph: Any) -> Iterator[tuple[str, str]]:
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        operand = made_by.get(node.input[0]) if node.op_type == 'Conv' else None
        if operand is None:
            continue
        if operand.op_type == 'BipolarQuant':
            yield operand.input[0], node.output[0]
        elif operand.op_type == 'Where' and made_by[operand.input[0]].op_type == 'Less':
            yield made_by[operand.input[0]].input[0], node.output[0]
