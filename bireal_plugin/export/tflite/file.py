"""The .tflite file: a flatbuffer with a checksum inside, and the check of a file that comes back.

Two buffers are named in the model's metadata. One is the checksum: a marker, then the SHA-256 of the whole file with
zeros in the checksum's place. It is found by the marker, so that a damaged file is refused before anything in it is
followed. The other lists the tensors in front of and behind every binary convolution, for ``tap_tflite``.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite.flatbuffer import IDENTIFIER, flatbuffer, packages
from bireal_plugin.export.tflite.graph import Graph

CHECKSUM, LAYERS = 'bireal_checksum', 'bireal_layers'
MARKER = b'bireal-tflite-1 sha256:'
UNSIGNED = b'0' * hashlib.sha256().digest_size * 2
# Where a subgraph's table says where the list of its outputs is: the third of its fields.
OUTPUTS_FIELD = 8


def serialize(graph: Graph) -> bytes:
    """The content of a file, signed."""
    pairs = np.array(graph.layers, '<i4').tobytes()
    return signed(flatbuffer(graph, {CHECKSUM: MARKER + UNSIGNED, LAYERS: pairs}))


def write_tflite(graph: Graph, path: Path) -> None:
    """Write ``graph`` to ``path``; the file appears whole or not at all."""
    write_bytes(serialize(graph), path)


def read_tflite(path: Path) -> bytes:
    """The content of a file that ``write_tflite`` wrote.

    Raises:
        InputError: it is missing, of another origin, or was changed or cut since.
    """
    if not path.is_file():
        raise InputError(f'TFLite model {path} does not exist')
    data = path.read_bytes()
    if data[4:8] != IDENTIFIER:
        raise InputError(f'{path} is no TFLite model')
    if data.count(MARKER) != 1:
        raise InputError(f'{path} is truncated, or a TFLite model that this package did not write')
    if data != signed(data):
        raise InputError(f'{path} was changed after it was written: its checksum does not match; get it again')
    return data


def signed(data: bytes) -> bytes:
    """``data`` with the right checksum behind its marker."""
    start = data.index(MARKER) + len(MARKER)
    front, back = data[:start], data[start + len(UNSIGNED) :]
    return front + hashlib.sha256(front + UNSIGNED + back).hexdigest().encode() + back


def write_bytes(data: bytes, path: Path) -> None:
    """Write ``data`` to ``path``; the file appears whole or not at all."""
    partial = path.with_name(f'.{path.name}.partial')
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def tap_tflite(path: Path, target: Path, choice: Callable[[Sequence[tuple[int, int]]], Sequence[int]]) -> int:
    """Write the file at ``path`` to ``target`` with further outputs; their number.

    Args:
        choice: picks tensors from what goes into and what comes out of every binary convolution.
    """
    _, tflite = packages()
    data = bytearray(read_tflite(path))
    model = tflite.Model.GetRootAs(data)
    notes = {model.Metadata(i).Name().decode(): model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    buffer = model.Buffers(notes[LAYERS])
    layers = np.array([buffer.Data(i) for i in range(buffer.DataLength())], np.uint8).view('<i4').reshape(-1, 2)
    chosen = list(choice([(int(x), int(y)) for x, y in layers]))
    subgraph = model.Subgraphs(0)
    outputs = [*map(int, subgraph.OutputsAsNumpy()), *chosen]
    # A list may lie anywhere behind the place that points to it, so the longer one goes to the end of the file.
    pointer = subgraph._tab.Pos + subgraph._tab.Offset(OUTPUTS_FIELD)
    data += bytes(-len(data) % 4)
    struct.pack_into('<I', data, pointer, len(data) - pointer)
    data += struct.pack(f'<I{len(outputs)}i', len(outputs), *outputs)
    write_bytes(signed(bytes(data)), target)
    return len(chosen)
