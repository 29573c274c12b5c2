"""QONNX, for FPGA tool flows such as FINN: signs are ``BipolarQuant`` nodes, everything else is standard ONNX.

BipolarQuant gives +1 for ``x >= 0``, hence for both zeros, and -1 otherwise; its scale is 1 everywhere, so that flows
see the type BIPOLAR, and the real scale and bias of a channel are a Mul and an Add behind the Conv. 1-bit weights are
stored 8 per byte and unpacked by standard operators; ``qonnx.util.cleanup``, with which flows begin, folds these to the
plain float initializer in front of the weight's BipolarQuant. All shapes are static, as hardware wants them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.onnx.file import checked_target, read_model, write_model
from bireal_plugin.export.optional_package import require
from bireal_plugin.export.session_io import as_input

FORMAT = 'bireal-qonnx-1'
DOMAIN = 'qonnx.custom_op.general'
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime', 'qonnx')


def export_qonnx(model: nn.Module, path: str | Path, example_shape: Sequence[int]) -> Path:
    """Write a folded network to ``path`` (.qonnx) for inputs of exactly ``example_shape`` ``(N, C, H, W)``.

    Raises:
        InputError: another suffix, a network that is not folded or cannot be exported, or qonnx is not installed.
    """
    path = checked_target(path, suffix='.qonnx')
    require(*PACKAGES, engine='qonnx')
    from onnx.helper import make_opsetid
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    from bireal_plugin.export.onnx.lower import Lowering, lower
    from bireal_plugin.export.onnx.trace import trace

    def bipolar(lowering: Lowering, value: str, output: str) -> str:
        scale = lowering.constant('/unit_scale', 1.0)
        return lowering.node('BipolarQuant', (value, scale), output, domain=DOMAIN)

    lowered = lower(trace(model, example_shape, dynamic=False), activation=bipolar, weight=bipolar)
    lowered.opset_import.append(make_opsetid(DOMAIN, 1))
    shaped = ModelWrapper(lowered).transform(InferShapes())
    if not shaped.check_all_tensor_shapes_specified():
        raise InputError(f'the shapes of this network cannot be inferred for inputs of shape {tuple(example_shape)}')
    write_model(shaped.model, path, file_format=FORMAT)
    return path


class QONNXSession:
    """Runs an exported file in the qonnx package, node by node: ``session(batch)`` gives the outputs as numpy arrays.

    Args:
        path: a file that ``export_qonnx`` wrote. threads: taken for the sake of the other engines; the qonnx
            package has no such setting.

    Raises:
        InputError: the file is missing, truncated, changed or of another origin, or qonnx is not installed.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        require(*PACKAGES, engine='qonnx')
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.infer_shapes import InferShapes

        self.model = ModelWrapper(read_model(Path(path), file_format=FORMAT)).transform(InferShapes())
        self.input = self.model.graph.input[0].name
        self.input_shape: tuple[int, ...] = tuple(self.model.get_tensor_shape(self.input))

    def __call__(self, batch: Tensor | np.ndarray) -> list[np.ndarray]:
        from qonnx.core.onnx_exec import execute_onnx

        array = as_input(batch, self.input_shape)
        with runnable_nodes():
            outputs = execute_onnx(self.model, {self.input: array})
        return [outputs[value.name] for value in self.model.graph.output]


@contextmanager
def runnable_nodes() -> Iterator[None]:
    """For a while, let qonnx run and fold nodes whatever the versions of onnx and onnxruntime.

    It wraps each node in a model of the newest IR version that onnx knows, which a released onnxruntime may not read
    yet: onnx 1.23 writes version 14, onnxruntime 1.31 reads up to 13.
    """
    from qonnx.core import onnx_exec

    from bireal_plugin.export.onnx.trace import IR_VERSION

    make_model = onnx_exec.qonnx_make_model
    onnx_exec.qonnx_make_model = partial(make_model, ir_version=IR_VERSION)
    try:
        yield
    finally:
        onnx_exec.qonnx_make_model = make_model
