"""TFLite for Larq Compute Engine (ARM, Android), without TensorFlow: every binary convolution becomes a LceBconv2d.

Files run in the released Larq interpreter, in an environment of its own.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import Choice, EngineSession, Tapped, first_line, tapped_copy
from bireal_plugin.export.tflite.file import LAYERS, metadata, note, read_tflite, signed, write_tflite
from bireal_plugin.export.tflite.flatbuffer import packages
from bireal_plugin.export.tflite.graph import TO_STORED, TO_TORCH, Graph
from bireal_plugin.export.tflite.larq_process import Kernel, LarqProcess
from bireal_plugin.export.tflite.translation import translate
from bireal_plugin.hosts.flatbuffers_private import field_position
from bireal_plugin.whole_file import whole

OUTPUTS_FIELD = 8  # the third field of a subgraph's table points to the list of its outputs


def convert(model: nn.Module, example_shape: Sequence[int]) -> Graph:
    """A folded network as a TFLite graph for inputs of exactly ``example_shape`` ``(N, C, H, W)``."""
    shape = tuple(example_shape)
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(f'the shape of an example is (N, C, H, W), not {shape}')
    try:
        with torch.no_grad():
            program = torch.export.export(model.eval(), (torch.zeros(shape),)).run_decompositions({})
    except RuntimeError as error:
        raise InputError(
            f'{type(model).__name__} cannot be traced with inputs of shape {shape}: {first_line(error)}'
        ) from error
    return translate(program)


def export_tflite(
    model: nn.Module, path: Path, example_shape: Sequence[int], *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a folded network to ``path`` (.tflite); it takes ``(N, H, W, C)`` of the example's size, float32.

    Args:
        metadata: texts to keep in the file.

    Raises:
        InputError: wrong shape, a missing package, or an operator without a form in TFLite, by its name.
    """
    packages()
    write_tflite(convert(model, example_shape), path, metadata)
    return path


class TFLiteSession(EngineSession):
    """Runs an exported file in the Larq interpreter, which a worker process holds until the session ends.

    A file has a batch size: other batches are cut into pieces of it, the last one filled up with zeros.

    Args:
        path: of the .tflite. threads: of the inference, None for all cores of this process.
        kernel: of the 1-bit layers; 'indirect' is the fastest on x86.

    Raises:
        InputError: the file is missing, of another origin or damaged, or the interpreter is missing or fails.
    """

    timeout = 300.0

    def __init__(self, path: str | Path, *, threads: int | None = None, kernel: Kernel = 'indirect') -> None:
        self.source = str(path)
        model = read_tflite(Path(path))
        threads = threads or len(os.sched_getaffinity(0))
        self.worker = LarqProcess(self.source, threads=threads, kernel=kernel, timeout=self.timeout)
        header, _ = self.worker.ask(model)
        if len(header['input']) != 4:
            self.close()
            raise InputError(f'{self.source} takes {len(header["input"])} dimensions; networks here take images')
        n, h, w, c = header['input']
        self.batch_size = int(n)
        self.input_shape = (n, c, h, w)
        self.metadata = metadata(model)

    @property
    def accepted(self) -> tuple[int | str, ...]:
        return ('batch', *self.input_shape[1:])

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        size = self.batch_size
        pieces = [self._run(batch[start : start + size]) for start in range(0, len(batch), size)]
        return [np.concatenate(outputs) for outputs in zip(*pieces, strict=True)]

    def close(self) -> None:
        super().close()
        self.worker.close()

    def _run(self, piece: np.ndarray) -> list[np.ndarray]:
        missing = self.batch_size - len(piece)
        full = np.pad(piece, ((0, missing), (0, 0), (0, 0), (0, 0)))
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(full.transpose(TO_STORED[4])), allow_pickle=False)
        header, deadline = self.worker.ask(content.getvalue())
        outputs = []
        for _ in range(header['outputs']):
            output = np.load(io.BytesIO(self.worker.receive(deadline)), allow_pickle=False)
            order = TO_TORCH.get(output.ndim, range(output.ndim))
            outputs.append(np.ascontiguousarray(output.transpose(order))[: len(piece)])
        return outputs


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
