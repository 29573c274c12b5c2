"""OpenVINO, the fast path on x86: every ``bireal::binary_conv2d`` becomes a BinaryConvolution, run by XNOR + popcount.

``nodes.py`` holds the forms a layer can take, ``int8.py`` the quantization of real layers, ``file.py`` the files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.openvino import file as openvino_file
from bireal_plugin.export.openvino.int8 import quantize_real_layers
from bireal_plugin.export.openvino.nodes import binary_convolution
from bireal_plugin.export.optional_package import require
from bireal_plugin.export.session_io import EngineSession, Precision, last_line
from bireal_plugin.folding.operator import unpack_signs


def openvino() -> Any:
    """The openvino package.

    Raises:
        InputError: it is not installed.
    """
    require('openvino', engine='openvino')
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


def convert(model: nn.Module, example_shape: Sequence[int]) -> Any:
    """A folded network as an ``openvino.Model`` for inputs of exactly ``example_shape`` ``(N, C, H, W)``."""
    ov = openvino()
    example = torch.zeros(tuple(example_shape))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # PyTorch's, about its own code
        program = torch.export.export(model.eval(), (example,))
    # The front end does not know the channels of an intermediate result, which decide the form of a layer.
    channels = input_channels(program)
    extension = ov.frontend.ConversionExtension(
        'bireal.binary_conv2d.default', lambda context: _translate(context, channels)
    )
    converted = ov.convert_model(program, example_input=example, extension=[extension])
    converted.reshape(list(example_shape))
    return converted


def export_openvino(
    model: nn.Module,
    path: Path,
    example_shape: Sequence[int],
    *,
    calibration: Iterable[np.ndarray] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a folded network to ``path`` (.xml, weights beside it as .bin).

    ``OpenVINOSession`` compiles the file for other shapes than the example's too.

    Args:
        calibration: batches ``(N, C, H, W)`` of the example shape; real layers are int8 then, else float32.
        metadata: texts to keep in the file.
    """
    converted = convert(model, example_shape)
    if calibration is not None:
        converted = quantize_real_layers(converted, calibration)
    openvino_file.write(openvino(), converted, path, metadata or {})
    return path


class OpenVINOSession(EngineSession):
    """Runs an exported file on any batch and image size that its network takes, one compiled model per shape.

    Args:
        source: path of an .xml that ``export_openvino`` wrote, or an ``openvino.Model``.
        real_layers: precision of layers that the file has in float32: 'f32' or 'bf16'.
        threads: of the inference, None for all cores.

    Raises:
        InputError: another precision, the file is missing, damaged or of another origin, or openvino is not installed.
    """

    def __init__(self, source: Any, *, real_layers: Precision = 'f32', threads: int | None = None) -> None:
        if real_layers not in ('f32', 'bf16'):
            raise InputError(f'OpenVINO computes real layers of {source} in f32 or bf16, not in {real_layers}')
        self.source = str(source) if isinstance(source, (str, Path)) else 'an openvino.Model'
        if isinstance(source, (str, Path)):
            openvino_file.check(Path(source))
            source = core().read_model(str(source))
        self.model = source
        self.input_shape = tuple(source.inputs[0].shape)
        self.metadata = openvino_file.metadata(source)
        self.options: dict[str, Any] = {'INFERENCE_PRECISION_HINT': real_layers, 'PERFORMANCE_HINT': 'LATENCY'}
        if threads is not None:
            self.options['INFERENCE_NUM_THREADS'] = threads
        self.compiled: dict[tuple[int, ...], Any] = {}

    def compile(self, shape: tuple[int, ...]) -> Any:
        """The compiled model for one input shape; compiled at the first call."""
        if shape not in self.compiled:
            model = self.model.clone()
            try:
                model.reshape(list(shape))
                self.compiled[shape] = core().compile_model(model, 'CPU', self.options)
            except RuntimeError as error:
                raise InputError(f'the network does not take inputs of shape {shape}: {last_line(error)}') from error
        return self.compiled[shape]

    @property
    def accepted(self) -> tuple[int | str, ...]:
        return ('batch', self.input_shape[1], 'height', 'width')

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        result = self.compile(batch.shape)(batch)
        return [result[i] for i in range(len(result))]


def input_channels(program: torch.export.ExportedProgram) -> dict[bytes, int]:
    """Input channels of every binary convolution in a program, by the content of its weight and affine map."""
    channels = {}
    buffers = {**program.state_dict, **program.constants}
    names = program.graph_signature.inputs_to_buffers
    for node in program.graph.nodes:
        if node.target is torch.ops.bireal.binary_conv2d.default:
            x, *operands = node.args[:4]
            key = _key(*(buffers[names[operand.name]].numpy() for operand in operands))
            channels[key] = x.meta['val'].shape[1]
    return channels


def _key(packed: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> bytes:
    return b''.join(array.tobytes() for array in (packed, scale, bias))


def _translate(context: Any, input_channels: Mapping[bytes, int]) -> list[Any]:
    """The nodes that stand for one ``bireal::binary_conv2d`` and its affine map."""
    from openvino import opset13 as ops

    packed, scale, bias = (np.array(context.get_input(i).get_node().data) for i in (1, 2, 3))
    stride, padding, dilation = ([int(v) for v in context.get_values_from_const_input(i)] for i in (4, 5, 6))
    groups = int(context.get_values_from_const_input(7))
    channels = input_channels[_key(packed, scale, bias)] // groups
    signs = unpack_signs(torch.from_numpy(packed), channels).numpy()
    y = binary_convolution(context.get_input(0), signs, (stride, padding, padding, dilation), groups)
    scale, bias = (ops.constant(value.reshape(1, -1, 1, 1)) for value in (scale, bias))
    return ops.add(ops.multiply(y, scale), bias).outputs()
