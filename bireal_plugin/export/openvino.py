"""OpenVINO, the fast path on x86: every ``bireal::binary_conv2d`` becomes a BinaryConvolution, run by XNOR + popcount.

Three facts of that operator decide the form (each was silently wrong otherwise): weights are packed little-endian with
1 for +1; the input is quantized to {0, 1} by a FakeQuantize whose threshold is the negative of the smallest normal
number, so that both zeros become +1; and input channels must be a multiple of 32. Layers that are not, or that have
groups, keep their signs but convolve them as real numbers, which is exact too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.operator import unpack_signs

CHANNEL_BLOCK = 32
BELOW_ZERO = -np.finfo(np.float32).tiny
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
    with torch.no_grad():
        program = torch.export.export(model.eval(), (example,))
    # The front end does not know the channels of an intermediate result, which decide the form of a layer.
    channels = input_channels(program)
    extension = ov.frontend.ConversionExtension(
        'bireal.binary_conv2d.default', lambda context: _binary_convolution(context, channels)
    )
    converted = ov.convert_model(program, example_input=example, extension=[extension])
    converted.reshape(list(example_shape))
    return converted


def export_openvino(model: nn.Module, path: str | Path, example_shape: Sequence[int]) -> Path:
    """Write a folded network to ``path`` (.xml, weights beside it as .bin); real weights stay float32.

    The example shape is only where conversion starts: :class:`OpenVINOSession` compiles the file for other shapes.
    """
    path = Path(path)
    if path.suffix != '.xml':
        raise InputError(f'an OpenVINO model is written to a file .xml, not {path}')
    converted = convert(model, example_shape)
    # The .bin is found by the .xml's name, so both are written in a folder of their own and moved.
    folder = path.with_name(f'.{path.stem}.partial')
    folder.mkdir(parents=True, exist_ok=True)
    try:
        openvino().save_model(converted, str(folder / path.name), compress_to_fp16=False)
        os.replace(folder / f'{path.stem}.bin', path.with_suffix('.bin'))
        os.replace(folder / path.name, path)
    finally:
        for leftover in folder.iterdir():
            leftover.unlink()
        folder.rmdir()
    return path


class OpenVINOSession:
    """Runs an exported file: ``session(batch)`` gives the outputs as numpy arrays, one compiled model per shape.

    Args:
        source: path of an .xml, or an ``openvino.Model``.
        real_layers: precision of the real layers, 'f32' or 'bf16'. threads: of the inference, None for all cores.
    """

    def __init__(self, source: Any, *, real_layers: RealLayers = 'f32', threads: int | None = None) -> None:
        ov = openvino()
        self.core = ov.Core()
        if isinstance(source, (str, Path)):
            if not Path(source).is_file():
                raise InputError(f'OpenVINO model {source} does not exist')
            try:
                source = self.core.read_model(str(source))
            except RuntimeError as error:
                raise InputError(
                    f'{source} is no readable OpenVINO model: {str(error).strip().splitlines()[-1]}'
                ) from error
        self.model = source
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


def _binary_convolution(context: Any, input_channels: Mapping[bytes, int]) -> list[Any]:
    """The node that stands for one ``bireal::binary_conv2d`` in an OpenVINO graph."""
    from openvino import opset13 as ops

    x = context.get_input(0)
    packed, scale, bias = (_constant(context, i) for i in (1, 2, 3))
    stride, padding, dilation = ([int(v) for v in context.get_values_from_const_input(i)] for i in (4, 5, 6))
    groups = int(context.get_values_from_const_input(7))
    channels = input_channels[_key(packed, scale, bias)] // groups
    signs = unpack_signs(torch.from_numpy(packed), channels).numpy()
    geometry = (stride, padding, padding, dilation)
    if groups == 1 and channels % CHANNEL_BLOCK == 0:
        y = _popcount(ops, x, signs, geometry)
    else:
        y = _real(ops, x, signs, geometry, groups)
    scale, bias = (ops.constant(value.reshape(1, -1, 1, 1)) for value in (scale, bias))
    return ops.add(ops.multiply(y, scale), bias).outputs()


def _constant(context: Any, index: int) -> np.ndarray:
    return np.array(context.get_input(index).get_node().data)


def _popcount(ops: Any, x: Any, signs: np.ndarray, geometry: tuple[list[int], ...]) -> Any:
    from openvino import Tensor as OVTensor
    from openvino import Type
    from openvino.op import Constant

    # A tensor with memory of its own: one around a numpy array would point nowhere once the array is gone.
    bits = OVTensor(Type.u1, signs.shape)
    bits.data[:] = np.packbits(signs.reshape(-1) > 0, bitorder='little').reshape(bits.data.shape)
    weight = Constant(bits)
    threshold, zero, one = (np.full((1, 1, 1, 1), value, np.float32) for value in (BELOW_ZERO, 0.0, 1.0))
    bounds = (ops.constant(value) for value in (threshold, threshold, zero, one))
    quantized = ops.fake_quantize(x, *bounds, levels=2)
    stride, begin, end, dilation = geometry
    return ops.binary_convolution(quantized, weight, stride, begin, end, dilation, 'xnor-popcount', 0.0)


def _real(ops: Any, x: Any, signs: np.ndarray, geometry: tuple[list[int], ...], groups: int) -> Any:
    one = np.float32(1)
    operand = ops.select(ops.less(x, ops.constant(np.float32(0))), ops.constant(-one), ops.constant(one))
    if groups == 1:
        return ops.convolution(operand, ops.constant(signs), *geometry)
    grouped = signs.reshape(groups, signs.shape[0] // groups, *signs.shape[1:])
    return ops.group_convolution(operand, ops.constant(grouped), *geometry)
