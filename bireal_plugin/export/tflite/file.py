"""The .tflite file: a flatbuffer with a checksum inside, and the check of a file that comes back.

Three buffers are named in the model's metadata. One is the checksum behind its marker, see ``checksum``. One lists the
tensors in front of and behind every binary convolution, for ``write_tapped``, and one holds the exporter's texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.checksum import UNSIGNED, signed
from bireal_plugin.export.tflite.flatbuffer import IDENTIFIER, flatbuffer, packages
from bireal_plugin.export.tflite.graph import Graph
from bireal_plugin.whole_file import whole

CHECKSUM, LAYERS, TEXTS = 'bireal_checksum', 'bireal_layers', 'bireal_metadata'
MARKER = b'bireal-tflite-1 sha256:'


def write_tflite(graph: Graph, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``graph`` to ``path``, with texts to keep in the file; it appears whole or not at all."""
    notes = {CHECKSUM: MARKER + UNSIGNED, LAYERS: np.array(graph.layers, '<i4').tobytes()}
    if metadata:
        notes[TEXTS] = json.dumps(dict(metadata)).encode()
    with whole(path) as partial:
        partial.write_bytes(signed(flatbuffer(graph, notes), MARKER))


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
    if data != signed(data, MARKER):
        raise InputError(f'{path} was changed after it was written: its checksum does not match; get it again')
    return data


def note(model: Any, name: str) -> bytes:
    """A buffer that is named in the metadata of a model as the package ``tflite`` reads it; empty if there is none."""
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name().decode() == name:
            buffer = model.Buffers(entry.Buffer())
            return bytes(buffer.Data(j) for j in range(buffer.DataLength()))
    return b''


def metadata(data: bytes) -> dict[str, str]:
    """The texts that ``write_tflite`` was given."""
    _, tflite = packages()
    return json.loads(note(tflite.Model.GetRootAs(bytearray(data)), TEXTS) or b'{}')
