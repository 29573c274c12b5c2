"""Tensors around the 1-bit layers of a TFLite model, read through a copy with further outputs.

The file lists these tensors itself, since a layer may be several operators there.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from bireal_plugin.export.session_io import Choice, Tapped, tapped_copy
from bireal_plugin.export.tflite.file import LAYERS, note, read_tflite, signed
from bireal_plugin.export.tflite.flatbuffer import packages
from bireal_plugin.export.tflite.larq_interpreter import TFLiteSession
from bireal_plugin.hosts.flatbuffers_private import field_position
from bireal_plugin.whole_file import whole

OUTPUTS_FIELD = 8  # the third field of a subgraph's table points to the list of its outputs


def tap_tflite(path: Path, choice: Choice, **options: Any) -> Tapped:
    """Run ``path`` and read the chosen tensors; see ``Engine.tap``."""
    return tapped_copy(path, choice, write_tapped, TFLiteSession, **options)


def write_tapped(path: Path, target: Path, choice: Choice) -> int:
    """Write the file at ``path`` to ``target`` with the chosen tensors as further outputs; return their number."""
    _, tflite = packages()
    data = bytearray(read_tflite(path))
    model = tflite.Model.GetRootAs(data)
    layers = np.frombuffer(note(model, LAYERS), '<i4').reshape(-1, 2)
    chosen = list(choice([(int(x), int(y)) for x, y in layers]))
    subgraph = model.Subgraphs(0)
    outputs = [*map(int, subgraph.OutputsAsNumpy()), *chosen]
    # A list may lie anywhere behind the place that points to it, so the longer one goes to the end of the file.
    pointer = field_position(subgraph, OUTPUTS_FIELD)
    data += bytes(-len(data) % 4)
    struct.pack_into('<I', data, pointer, len(data) - pointer)
    data += struct.pack(f'<I{len(outputs)}i', len(outputs), *outputs)
    with whole(target) as partial:
        partial.write_bytes(signed(bytes(data)))
    return len(chosen)
