"""OpenVINO, the fast path on x86: every ``bireal::binary_conv2d`` becomes a BinaryConvolution, run by XNOR + popcount.

``nodes.py`` holds the forms a layer can take, ``int8.py`` the quantization of what stays real,
``file.py`` the files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.openvino import file as openvino_file
from bireal_plugin.export.openvino.int8 import quantize_real_layers
from bireal_plugin.export.openvino.nodes import binary_convolution
from bireal_plugin.folding.operator import unpack_signs

RealLayers = Literal['f32', 'bf16']


def openvino() -> Any:
    """The openvino package.

    Raises:
        InputError: it is not installed.
    """
    if find_spec('openvino') is None:
        raise InputError("the openvino engine needs the package openvino: pip install 'bireal-plugin[openvino]'")
    import openvino

    return openvino


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
    path: str | Path,
    example_shape: Sequence[int],
    *,
    calibration: Iterable[np.ndarray] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a folded network to ``path`` (.xml, weights beside it as .bin).

    The example shape is only where conversion starts: ``OpenVINOSession`` compiles the file for other shapes.

    Args:
        calibration: batches ``(N, C, H, W)`` of the example shape; real layers are int8 then, else float32.
        metadata: texts to keep in the file; a session has them as ``session.metadata``.
    """
    path = Path(path)
    if path.suffix != '.xml':
        raise InputError(f'an OpenVINO model is written to a file .xml, not {path}')
    converted = convert(model, example_shape)
    if calibration is not None:
        converted = quantize_real_layers(converted, calibration)
    openvino_file.write(openvino(), converted, path, metadata or {})
    return path


class OpenVINOSession:
    """Runs an exported file: ``session(batch)`` gives the outputs as numpy arrays, one compiled model per shape.

    Args:
        source: path of an .xml that ``export_openvino`` wrote, or an ``openvino.Model``.
        real_layers: precision of layers that the file has in float32: 'f32' or 'bf16'.
        threads: of the inference, None for all cores.
    """

    def __init__(self, source: Any, *, real_layers: RealLayers = 'f32', threads: int | None = None) -> None:
        ov = openvino()
        self.core = ov.Core()
        if isinstance(source, (str, Path)):
            openvino_file.check(Path(source))
            source = self.core.read_model(str(source))
        self.model = source
        self.metadata = openvino_file.metadata(source)
        self.options: dict[str, Any] = {'INFERENCE_PRECISION_HINT': real_layers, 'PERFORMANCE_HINT': 'LATENCY'}
        if threads is not None:
            self.options['INFERENCE_NUM_THREADS'] = threads
        self.compiled: dict[tuple[int, ...], Any] = {}

    def compile(self, shape: tuple[int, ...]) -> Any:
        """The compiled model for one input shape; compiled once."""
        if shape not in self.compiled:
            model = self.model.clone()
            try:
                model.reshape(list(shape))
                self.compiled[shape] = self.core.compile_model(model, 'CPU', self.options)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1]
                raise InputError(f'the network does not take inputs of shape {shape}: {reason}') from error
        return self.compiled[shape]

    def __call__(self, batch: Tensor | np.ndarray) -> list[np.ndarray]:
        array = np.ascontiguousarray(np.asarray(batch), dtype=np.float32)
        result = self.compile(array.shape)(array)
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
