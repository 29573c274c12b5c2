"""TFLite for Larq Compute Engine (ARM, Android), without TensorFlow: every binary convolution becomes a LceBconv2d.

Files run in the released Larq interpreter, in an environment of its own.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.checksum import signed
from bireal_plugin.export.program import traced
from bireal_plugin.export.session_io import Choice, EngineSession
from bireal_plugin.export.tflite.file import LAYERS, MARKER, metadata, note, read_tflite, write_tflite
from bireal_plugin.export.tflite.flatbuffer import packages
from bireal_plugin.export.tflite.graph import TO_STORED, TO_TORCH, Graph
from bireal_plugin.export.tflite.larq_process import Kernel, LarqProcess
from bireal_plugin.export.tflite.translation import translate
from bireal_plugin.hosts.engines_private import field_position
from bireal_plugin.whole_file import whole

OUTPUTS_FIELD = 8  # the third field of a subgraph's table points to the list of its outputs


def convert(model: nn.Module, example_shape: Sequence[Any]) -> Graph:
    """A folded network as a TFLite graph for inputs of exactly ``example_shape`` ``(N, C, H, W)``."""
    return translate(traced(model, example_shape))


def export_tflite(
    model: nn.Module, path: Path, example_shape: Sequence[Any], *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a folded network to ``path`` (.tflite); it takes ``(N, H, W, C)`` of the example's size, float32.

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
        super().__init__(path, threads=threads, kernel=kernel)
        model = read_tflite(Path(path))
        threads = threads or len(os.sched_getaffinity(0))
        self.worker = LarqProcess(self.source, threads=threads, kernel=kernel, timeout=self.timeout)
        stored, self.output_shapes = json.loads(self.worker.ask(model, answers=1)[0])
        self.batch_size = int(stored[0][0])
        self.accepted, *others = (('batch', c, h, w) for _, h, w, c in stored)
        self.input_shape, self.others = (self.batch_size, *self.accepted[1:]), tuple(others)
        try:
            self.metadata = metadata(model)
        except (struct.error, LookupError, ValueError, AttributeError, TypeError) as error:
            raise InputError(f'{path} is damaged: {error}; export it again') from error

    def run(self, *batches: np.ndarray) -> list[np.ndarray]:
        size = self.batch_size
        starts = range(0, len(batches[0]), size)
        pieces = [self._run([batch[start : start + size] for batch in batches]) for start in starts]
        return [np.concatenate(outputs) for outputs in zip(*pieces, strict=True)]

    def close(self) -> None:
        super().close()
        self.worker.close()

    @staticmethod
    def write_tapped(path: Path, target: Path, choice: Choice) -> int:
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
            partial.write_bytes(signed(bytes(data), MARKER))
        return len(chosen)

    def _run(self, piece: list[np.ndarray]) -> list[np.ndarray]:
        count = len(piece[0])
        missing = ((0, self.batch_size - count), (0, 0), (0, 0), (0, 0))
        block = b''.join(np.pad(batch, missing).transpose(TO_STORED[4]).tobytes() for batch in piece)
        blocks = self.worker.ask(block, answers=len(self.output_shapes))
        outputs = []
        for block, shape in zip(blocks, self.output_shapes, strict=True):
            order = TO_TORCH.get(len(shape), range(len(shape)))
            output = np.frombuffer(block, np.float32).reshape(shape).transpose(order)
            outputs.append(np.ascontiguousarray(output)[:count])
        return outputs
