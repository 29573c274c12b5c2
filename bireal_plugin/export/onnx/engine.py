"""ONNX, for every runtime that reads it: standard operators only, of opset 18 or another, no domain of our own.

A sign is ``Where(x < 0, -1, 1)``, a 1-bit convolution a Conv on +-1 weights, so its sums are exact integers. 1-bit
weights are stored 8 per byte and unpacked by operators that runtimes evaluate once, at load time: the file has about
the size of the packed one. Batch is dynamic; height and width too where the network's code does not fix them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bireal_plugin.errors import InputError, last_line, require
from bireal_plugin.export.onnx.file import OPSET, read_model, write_model, write_tapped
from bireal_plugin.export.session_io import EngineSession
from bireal_plugin.hosts.engines_private import onnxruntime_errors

FORMAT = 'bireal-onnx-1'


def export_onnx(
    model: nn.Module,
    path: Path,
    example_shape: Sequence[Any],
    *,
    metadata: Mapping[str, str] | None = None,
    opset: int = OPSET,
) -> Path:
    """Write a folded network to ``path`` (.onnx).

    Args:
        example_shape: ``(N, C, H, W)``; other batch sizes run too. Other H and W do where the session's
            ``input_shape`` has their names: PyTorch fixes them where the network's code does, and where a feature map
            has a side of one pixel, so export with images that stay larger than that.
        opset: version of the operators.

    Raises:
        InputError: a network that is not folded or cannot be exported or has no form in ``opset``, or onnx is not
            installed.
    """
    require('onnx', 'onnxscript', engine='onnx')
    from onnx.checker import check_model

    from bireal_plugin.export.onnx.lower import Lowering, in_opset, lower, trace

    def sign(lowering: Lowering, value: str, output: str) -> str:
        zero, minus, plus = (lowering.constant(f'/{number}', number) for number in (0, -1, 1))
        below = lowering.node('Less', (value, zero), f'{output}/below')
        return lowering.node('Where', (below, minus, plus), output)

    lowered = lower(trace(model, example_shape, dynamic=True), activation=sign, weight=lambda _, signs, __: signs)
    lowered = in_opset(lowered, opset)
    check_model(lowered, full_check=True)
    write_model(lowered, path, file_format=FORMAT, metadata=metadata)
    return path


class ONNXSession(EngineSession):
    """Runs an exported file in onnxruntime on the CPU.

    Args:
        path: a file that ``export_onnx`` wrote. threads: of the inference, None for all cores.

    Raises:
        InputError: the file is missing, truncated, changed or of another origin, or onnxruntime is not installed.
    """

    write_tapped = staticmethod(partial(write_tapped, file_format=FORMAT))

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        require('onnxruntime', engine='onnx')
        import onnxruntime

        super().__init__(path, threads=threads)
        # The last one where a message quotes bytes of the file.
        self.errors: tuple[type[Exception], ...] = (*onnxruntime_errors(), UnicodeDecodeError)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        data = read_model(Path(path), file_format=FORMAT)
        try:
            self.session = onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
        except self.errors as error:
            raise InputError(f'onnxruntime {onnxruntime.__version__} cannot run {path}: {last_line(error)}') from error
        self.names = [value.name for value in self.session.get_inputs()]
        self.accepted, *others = (tuple(value.shape) for value in self.session.get_inputs())
        self.input_shape, self.others = self.accepted, tuple(others)
        self.metadata = self.session.get_modelmeta().custom_metadata_map

    def run(self, *batches: np.ndarray) -> list[np.ndarray]:
        try:
            return self.session.run(None, dict(zip(self.names, batches, strict=True)))
        except self.errors as error:
            shapes = ' and '.join(str(batch.shape) for batch in batches)
            raise InputError(f'the network cannot run on inputs of shape {shapes}: {last_line(error)}') from error
