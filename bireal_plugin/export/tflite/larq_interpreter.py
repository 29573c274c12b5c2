"""The released Larq interpreter, in an environment of its own, as the session of .tflite files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import EngineSession
from bireal_plugin.export.tflite.file import metadata, read_tflite
from bireal_plugin.export.tflite.graph import TO_STORED, TO_TORCH
from bireal_plugin.export.tflite.larq_process import Kernel, LarqProcess


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
