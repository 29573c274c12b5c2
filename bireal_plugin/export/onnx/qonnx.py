"""QONNX, for FPGA tool flows such as FINN: signs are ``BipolarQuant`` nodes, everything else is standard ONNX.

BipolarQuant gives +1 for ``x >= 0``, hence for both zeros, and -1 otherwise; its scale is 1 everywhere, so that flows
see the type BIPOLAR, and the real scale and bias of a channel are a Mul and an Add behind the Conv. 1-bit weights are
stored 8 per byte and unpacked by standard operators; ``qonnx.util.cleanup``, with which flows begin, folds these to the
plain float initializer in front of the weight's BipolarQuant. All shapes are static, as hardware wants them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bireal_plugin.errors import InputError, last_line, require
from bireal_plugin.export.onnx.file import IR_VERSION, parsed, write_model, write_tapped
from bireal_plugin.export.session_io import EngineSession
from bireal_plugin.hosts.engines_private import onnxruntime_errors, pinned_ir_version

FORMAT = 'bireal-qonnx-1'
DOMAIN = 'qonnx.custom_op.general'
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime', 'qonnx')


def export_qonnx(
    model: nn.Module, path: Path, example_shape: Sequence[Any], *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a folded network to ``path`` (.qonnx) for inputs of exactly ``example_shape`` ``(N, C, H, W)``.

    Raises:
        InputError: a network that is not folded or cannot be exported, or qonnx is not installed.
    """
    require(*PACKAGES, engine='qonnx')
    from onnx.helper import make_opsetid
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    from bireal_plugin.export.onnx.lower import Lowering, lower, trace

    def bipolar(lowering: Lowering, value: str, output: str) -> str:
        scale = lowering.constant('/unit_scale', 1.0)
        return lowering.node('BipolarQuant', (value, scale), output, domain=DOMAIN)

    lowered = lower(trace(model, example_shape, dynamic=False), activation=bipolar, weight=bipolar)
    lowered.opset_import.append(make_opsetid(DOMAIN, 1))
    shaped = ModelWrapper(lowered).transform(InferShapes(), cleanup=False)  # which would give random names
    if not shaped.check_all_tensor_shapes_specified():
        raise InputError(f'the shapes of this network cannot be inferred for inputs of shape {tuple(example_shape)}')
    write_model(shaped.model, path, file_format=FORMAT, metadata=metadata)
    return path


class QONNXSession(EngineSession):
    """Runs an exported file in the qonnx package, node by node, one call of the process at a time.

    Args:
        path: a file that ``export_qonnx`` wrote. threads: taken for the sake of the other engines; the qonnx
            package has no such setting.

    Raises:
        InputError: the file is missing, truncated, changed or of another origin, or qonnx is not installed.
    """

    write_tapped = staticmethod(partial(write_tapped, file_format=FORMAT))

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        require(*PACKAGES, engine='qonnx')
        from onnx.checker import check_model
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.infer_shapes import InferShapes

        super().__init__(path, threads=threads)
        model = parsed(Path(path), file_format=FORMAT)
        with _mistakes(self.source):
            check_model(model)
            self.model = ModelWrapper(model).transform(InferShapes())
            self.names = [value.name for value in self.model.graph.input]
            self.accepted, *others = (tuple(self.model.get_tensor_shape(name)) for name in self.names)
        self.input_shape, self.others = self.accepted, tuple(others)
        self.metadata = {entry.key: entry.value for entry in self.model.model.metadata_props}

    def run(self, *batches: np.ndarray) -> list[np.ndarray]:
        from qonnx.core.onnx_exec import execute_onnx

        with pinned_ir_version(IR_VERSION), _mistakes(self.source):
            outputs = execute_onnx(self.model, dict(zip(self.names, batches, strict=True)))
            return [outputs[value.name] for value in self.model.graph.output]


@contextmanager
def _mistakes(path: str) -> Iterator[None]:
    """Turns what qonnx raises over a graph that it cannot run into one sentence; it raises plain ``Exception`` too."""
    from onnx.checker import ValidationError
    from onnx.shape_inference import InferenceError

    known = (AssertionError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)
    raised = (*known, MemoryError, ValidationError, InferenceError, *onnxruntime_errors())
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, raised):
            raise
        raise InputError(f'qonnx cannot run {path}: {last_line(error)}') from error
