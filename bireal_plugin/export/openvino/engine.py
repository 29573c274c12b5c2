"""OpenVINO, the fast path on x86: every ``bireal::binary_conv2d`` becomes a BinaryConvolution, run by XNOR + popcount.

``nodes.py`` holds the forms a layer can take, ``file.py`` the files.

int8 for real layers is NNCF's post-training quantization of convolutions and linear layers, and of nothing else:
additions, pooling and the signs in front of 1-bit convolutions keep float32, since quantizers there cost more than they
save and keep the engine from fusing the addition into the 1-bit convolution. Sums of products in int8 are exact on
every CPU.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bireal_plugin.errors import InputError, last_line, require
from bireal_plugin.export.openvino import file as openvino_file
from bireal_plugin.export.program import calibration_batches, traced
from bireal_plugin.export.session_io import Choice, EngineSession, Precision
from bireal_plugin.folding.norm_pairs import shapes_of

SHAPES = 8  # of compiled models that a session keeps
QUANTIZED = ('Convolution', 'GroupConvolution', 'MatMul')
# Without an operand to quantize; the quantizer warns about types that it does not know.
NOT_OPERATIONS = ('Constant', 'Parameter', 'Result')


def openvino() -> Any:
    """The openvino package, without its telemetry unless it was imported before.

    With it, its import and every conversion fork this process, whatever its threads hold, to tell a server in the
    network of them; that takes as long as a small conversion.

    Raises:
        InputError: it is not installed.
    """
    require('openvino', engine='openvino')
    sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def core() -> Any:
    """The only ``openvino.Core`` of the process, kept until its end.

    The CPU plugin of a core gives the calling thread a stack for signals, and destroying the core puts the stack back
    that was there before. If that was the stack of another core, which is gone, it is unmapped memory, and the next
    signal with a handler in Python (Ctrl-C, or the end of a worker of torch's DataLoader) ends the process with a
    segmentation fault. OpenVINO 2026.4.1 does so after two cores that were destroyed in the order of their creation.
    """
    return openvino().Core()


@cache
def computes_in_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this processor.

    A convolution is tried, since the plugin names bf16 too where oneDNN is held to instructions that have none.
    """
    if 'BF16' not in core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        return False
    from openvino import opset13 as operations

    image = operations.parameter([1, 16, 8, 8], np.float32)
    kernel = operations.constant(np.ones((16, 16, 3, 3), np.float32))
    convolution = operations.convolution(image, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    try:
        core().compile_model(openvino().Model([convolution], [image]), 'CPU', {'INFERENCE_PRECISION_HINT': 'bf16'})
    except RuntimeError:
        return False
    return True


def convert(model: nn.Module, example_shape: Sequence[Any]) -> Any:
    """A folded network as an ``openvino.Model`` for inputs of exactly ``example_shape`` ``(N, C, H, W)``."""
    ov = openvino()
    from bireal_plugin.export.openvino.nodes import input_channels, settle, translate

    program = traced(model, example_shape)
    # The front end does not know the channels of an intermediate result, which decide the form of a layer.
    channels = input_channels(program)
    extension = ov.frontend.ConversionExtension(
        'bireal.binary_conv2d.default', lambda context: translate(context, channels)
    )
    examples = tuple(torch.zeros(shape) for shape in shapes_of(example_shape))
    converted = ov.convert_model(program, example_input=examples, extension=[extension])
    converted.reshape({place: list(example.shape) for place, example in enumerate(examples)})
    settle(converted)
    return converted


def export_openvino(
    model: nn.Module,
    path: Path,
    example_shape: Sequence[Any],
    *,
    calibration: Iterable[np.ndarray] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a folded network to ``path`` (.xml, weights beside it as .bin).

    ``OpenVINOSession`` compiles the file for other shapes than the example's too.

    Args:
        calibration: batches ``(N, C, H, W)`` of the example shape; real layers are int8 then, else float32.
    """
    converted = convert(model, example_shape)
    if calibration is not None:
        converted = quantize_real_layers(converted, calibration)
    openvino_file.write(openvino(), converted, path, metadata or {})
    return path


class OpenVINOSession(EngineSession):
    """Runs an exported file on any batch and image size that its network takes, one compiled model per shape.

    The ``SHAPES`` compiled models that were used last are kept; several threads share one, with requests of their own.

    Args:
        source: path of an .xml that ``export_openvino`` wrote, or an ``openvino.Model``.
        real_layers: precision of layers that the file has in float32: 'f32' or, on processors that have it, 'bf16'.
        threads: of the inference, None for all cores.

    Raises:
        InputError: another precision, the file is missing, damaged or of another origin, or openvino is not installed.
    """

    def __init__(self, source: Any, *, real_layers: Precision = 'f32', threads: int | None = None) -> None:
        if real_layers not in ('f32', 'bf16'):
            raise InputError(f'OpenVINO computes real layers of {source} in f32 or bf16, not in {real_layers}')
        is_path = isinstance(source, (str, Path))
        super().__init__(source if is_path else 'an openvino.Model', real_layers=real_layers, threads=threads)
        if is_path:
            source = _read(Path(source))
            source = source if real_layers == 'f32' else openvino_file.unmarked(source)
        self.model = source
        self.input_shape, *_ = shapes = [_four(value, self.source) for value in source.inputs]
        self.accepted, *others = (('batch', shape[1], 'height', 'width') for shape in shapes)
        self.others = tuple(others)
        self.metadata = openvino_file.metadata(source)
        hint = real_layers if real_layers == 'f32' or computes_in_bf16() else 'f32'
        self.options: dict[str, Any] = {'INFERENCE_PRECISION_HINT': hint, 'PERFORMANCE_HINT': 'LATENCY'}
        if threads is not None:
            self.options['INFERENCE_NUM_THREADS'] = threads
        self.lock = threading.Lock()
        # By the inputs' shapes, with idle requests; the last used is the last.
        self.compiled: dict[tuple[tuple[int, ...], ...], tuple[Any, list[Any]]] = {}

    def compile(self, *shapes: tuple[int, ...]) -> Any:
        """The compiled model for the inputs' shapes; compiled at the first call."""
        return self._of_shapes(*map(tuple, shapes))[0]

    def _of_shapes(self, *shapes: tuple[int, ...]) -> tuple[Any, list[Any]]:
        with self.lock:
            found = self.compiled.pop(shapes, None)
            if found is None:
                model = self.model.clone()
                try:
                    model.reshape({place: list(shape) for place, shape in enumerate(shapes)})
                    found = core().compile_model(model, 'CPU', self.options), []
                except RuntimeError as error:
                    given, reason = ' and '.join(map(str, shapes)), last_line(error)
                    raise InputError(f'the network does not take inputs of shape {given}: {reason}') from error
            self.compiled[shapes] = found
            for oldest in list(self.compiled)[:-SHAPES]:
                del self.compiled[oldest]
            return found

    def close(self) -> None:
        super().close()
        with self.lock:
            self.compiled.clear()

    @staticmethod
    def write_tapped(path: Path, target: Path, choice: Choice) -> int:
        ov = openvino()
        model = _read(path)
        chosen = choice(list(_layers(model)))
        model.add_results([ov.opset13.result(value) for value in chosen])
        openvino_file.write(ov, model, target, {})
        return len(chosen)

    def run(self, *batches: np.ndarray) -> list[np.ndarray]:
        compiled, idle = self._of_shapes(*(batch.shape for batch in batches))
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        try:
            result = request.infer(list(batches))
        except RuntimeError as error:
            raise InputError(f'{self.source} cannot be run: {last_line(error)}') from error
        outputs = [result[i] for i in range(len(result))]
        idle.append(request)
        return outputs


def _read(path: Path) -> Any:
    """The model of an exported file whose checksum matches."""
    openvino_file.check(path)
    try:
        model = core().read_model(str(path))
    except RuntimeError as error:
        raise InputError(f'{path} is no model that OpenVINO can read: {last_line(error)}; export it again') from error
    if not model.inputs or not model.outputs:
        raise InputError(f'{path} has no inputs or no outputs; export it again')
    return model


def _four(value: Any, source: str) -> tuple[int, ...]:
    """Shape of an input, ``(N, C, H, W)``."""
    if value.partial_shape.is_dynamic or len(value.shape) != 4:
        raise InputError(f'{source} has an input of shape {value.partial_shape}, not (N, C, H, W); export it again')
    return tuple(value.shape)


def quantize_real_layers(model: Any, calibration: Iterable[np.ndarray]) -> Any:
    """A copy of an ``openvino.Model`` whose real convolutions and linear layers multiply in int8.

    Args:
        calibration: batches of normalised images in the model's input shape, some hundred images as a rule.

    Raises:
        InputError: nncf is missing, or there is no calibration batch, or one is of another shape.
    """
    require('nncf', engine='openvino')
    shape = tuple(model.inputs[0].shape)
    images = calibration_batches(calibration, shape)
    batches = np.split(images, len(images) // shape[0])

    import nncf
    from nncf.common.logging.logger import set_log_level

    set_log_level(logging.ERROR)  # it reports every layer that it was told to leave alone
    types = {operation.get_type_name() for operation in model.get_ops()}
    left = sorted(types.difference(QUANTIZED, NOT_OPERATIONS))
    scope = nncf.IgnoredScope(types=left, validate=False)
    # Weights of 7 bits: a CPU without VNNI adds pairs of products in 16 bits, which those of 8 overflow without a word.
    within = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars are no output
        return nncf.quantize(
            model, nncf.Dataset(batches), subset_size=len(batches), ignored_scope=scope, advanced_parameters=within
        )


def _layers(model: Any) -> Iterator[tuple[Any, Any]]:
    for node in model.get_ordered_ops():
        if not node.get_type_name().endswith('Convolution'):
            continue
        operand = node.input_value(0).get_node()
        if node.get_type_name() == 'BinaryConvolution':
            yield operand.input_value(0), node.output(0)
        elif operand.get_type_name() == 'Select' and operand.input_value(0).get_node().get_type_name() == 'Less':
            yield operand.input_value(0).get_node().input_value(0), node.output(0)
