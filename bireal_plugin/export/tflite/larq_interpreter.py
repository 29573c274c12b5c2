"""Running an exported .tflite file in the released Larq interpreter, which lives in an environment of its own."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import as_input
from bireal_plugin.export.tflite.file import read_tflite
from bireal_plugin.export.tflite.graph import TO_STORED, TO_TORCH
from bireal_plugin.export.tflite.larq_process import Kernel, LarqProcess


class TFLiteSession:
    """``session(batch)`` gives the outputs of an exported file as float32 arrays, feature maps as ``(N, C, H, W)``.

    A worker process holds the interpreter; it ends with the session (``close``, ``with``, or when it is collected).
    A file has a batch size: other batches are cut into pieces of it, the last one filled up with zeros.

    Args:
        path: of the .tflite. threads: of the inference, None for all cores of this process.
        kernel: of the 1-bit layers; 'indirect' is the fastest on x86.

    Raises:
        InputError: the file is missing, of another origin or damaged, or the interpreter is missing or fails.
    """

    timeout = 300.0

    def __init__(self, path: str | Path, *, threads: int | None = None, kernel: Kernel = 'indirect') -> None:
        self.path = Path(path)
        model = read_tflite(self.path)
        threads = threads or len(os.sched_getaffinity(0))
        self.worker = LarqProcess(str(self.path), threads=threads, kernel=kernel, timeout=self.timeout)
        header, _ = self.worker.ask(model)
        if len(header['input']) != 4:
            self.close()
            raise InputError(f'{self.path} takes {len(header["input"])} dimensions; networks here take images')
        n, h, w, c = header['input']
        self.input_shape: tuple[int, ...] = (n, c, h, w)

    def __call__(self, batch: Tensor | np.ndarray) -> list[np.ndarray]:
        array = as_input(batch, ('N', *self.input_shape[1:]))
        size = self.input_shape[0]
        pieces = [self._run(array[start : start + size]) for start in range(0, len(array), size)]
        return [np.concatenate(outputs) for outputs in zip(*pieces, strict=True)]

    def close(self) -> None:
        """End the worker process."""
        self.worker.close()

    def __enter__(self) -> TFLiteSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, piece: np.ndarray) -> list[np.ndarray]:
        missing = self.input_shape[0] - len(piece)
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
