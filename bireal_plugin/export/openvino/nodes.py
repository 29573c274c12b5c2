"""The OpenVINO operators that stand for one ``bireal::binary_conv2d``, each of them exact.

Five facts of the engine's BinaryConvolution decide the form. Four were silently wrong otherwise: weights are packed
little-endian with 1 for +1; the input is quantized to {0, 1} by a FakeQuantize whose threshold is the negative of the
smallest normal number, so that both zeros become +1; input channels must be a multiple of 32; and columns may be
skipped by a stride of at most 2. One is refused when the file is compiled on a CPU without AVX-512: more than 2 columns
of padding. Imports openvino at once: reach it through the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from openvino import Tensor as OVTensor
from openvino import Type, opset1
from openvino import opset13 as ops
from openvino.op import Constant
from openvino.utils.node_factory import NodeFactory
from openvino.utils.types import as_node

from bireal_plugin.folding.operator import unpack_signs

CHANNEL_BLOCK = 32
LARGEST_COLUMN_STRIDE = LARGEST_COLUMN_PADDING = 2
AFFINE = ('Add', 'Subtract', 'Multiply', 'Divide')
RESHAPING = ('Reshape', 'Squeeze', 'Unsqueeze')
CONSTANT = {'Constant', 'Convert', 'Reshape', 'Unsqueeze'}  # a constant and what may stand behind it
BELOW_ZERO = -np.finfo(np.float32).tiny
Geometry = tuple[list[int], list[int], list[int], list[int]]  # stride, zeros before, zeros after, dilation


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


def translate(context: Any, input_channels: Mapping[bytes, int]) -> list[Any]:
    """The nodes that stand for one ``bireal::binary_conv2d`` and its affine map."""
    packed, scale, bias = (np.array(context.get_input(i).get_node().data) for i in (1, 2, 3))
    stride, padding, dilation = ([int(v) for v in context.get_values_from_const_input(i)] for i in (4, 5, 6))
    groups = int(context.get_values_from_const_input(7))
    channels = input_channels[_key(packed, scale, bias)] // groups
    signs = unpack_signs(torch.from_numpy(packed), channels).numpy()
    y = binary_convolution(context.get_input(0), signs, (stride, padding, padding, dilation), groups)
    scale, bias = (ops.constant(value.reshape(1, -1, 1, 1)) for value in (scale, bias))
    return ops.add(ops.multiply(y, scale), bias).outputs()


def binary_convolution(x: Any, signs: np.ndarray, geometry: Geometry, groups: int) -> Any:
    """The node for ``conv2d(sign(x), signs)``.

    Args:
        x: output ``(N, C, H, W)`` of another node. signs: +-1 weight ``(O, C / groups, kH, kW)``.
    """
    missing = -signs.shape[1] % CHANNEL_BLOCK
    (_, column_stride), before, after, _ = geometry
    too_wide = column_stride > LARGEST_COLUMN_STRIDE or max(before[1], after[1]) > LARGEST_COLUMN_PADDING
    if groups > 1 or missing % 2 or too_wide:
        return real_convolution(x, signs, geometry, groups)
    if missing:
        x, signs = _padded(x, signs, missing)
    return popcount_convolution(x, signs, geometry)


def popcount_convolution(x: Any, signs: np.ndarray, geometry: Geometry) -> Any:
    """XNOR + popcount; channels are a multiple of 32 and not in groups."""
    # A tensor with memory of its own: one around a numpy array would point nowhere once the array is gone.
    bits = OVTensor(Type.u1, signs.shape)
    bits.data[:] = np.packbits(signs.reshape(-1) > 0, bitorder='little').reshape(bits.data.shape)
    threshold, zero, one = (ops.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in (BELOW_ZERO, 0.0, 1.0))
    # The threshold is one constant with two readers, which keeps the engine from taking this sign into a 1-bit
    # convolution before it: with an addition between the two it then computes other signs.
    quantized = ops.fake_quantize(_as_computed(x), threshold, threshold, zero, one, levels=2)
    return ops.binary_convolution(quantized, Constant(bits), *geometry, 'xnor-popcount', 0.0)


def _as_computed(x: Any) -> Any:
    """``x``, computed as it is written: not moved, as x + c > t, into the threshold t - c, whose rounding decides ties.

    A maximum with the lowest finite number changes nothing and stands between; it costs a pass over ``x``, and only
    where no shortcut is added in front of a sign.
    """
    producer = x.get_node() if hasattr(x, 'get_node') else x
    operands = [value.get_node().get_type_name() for value in producer.input_values()]
    if producer.get_type_name() in AFFINE and CONSTANT.intersection(operands):
        return ops.maximum(x, ops.constant(np.finfo(np.float32).min))
    return x


def real_convolution(x: Any, signs: np.ndarray, geometry: Geometry, groups: int) -> Any:
    """A convolution of signs as real numbers: integers below 2^24, hence exact too."""
    one = np.float32(1)
    operand = ops.select(ops.less(x, ops.constant(np.float32(0))), ops.constant(-one), ops.constant(one))
    if groups == 1:
        return ops.convolution(operand, ops.constant(signs), *geometry)
    grouped = signs.reshape(groups, signs.shape[0] // groups, *signs.shape[1:])
    return ops.group_convolution(operand, ops.constant(grouped), *geometry)


def _padded(x: Any, signs: np.ndarray, missing: int) -> tuple[Any, np.ndarray]:
    """Both operands with ``missing`` more channels, an even number.

    The input's are 0, so +1 after the sign; half of the weight's are +1 and half -1. They cancel in every window, also
    where it reaches into the zero padding, since that leaves out both halves alike.
    """
    nothing, behind = (ops.constant(np.array([0, channels, 0, 0])) for channels in (0, missing))
    x = opset1.pad(x, nothing, behind, 'constant', ops.constant(np.float32(0)))
    half = np.ones((signs.shape[0], missing // 2, *signs.shape[2:]), signs.dtype)
    return x, np.concatenate([signs, half, -half], axis=1)


def settle(model: Any) -> None:
    """Let ``model``, in place, have operators that OpenVINO runs as they are.

    It would make others of some, which lose the mark of their precision (``file.py``): of newer versions of max pools,
    padding, resizing and softmax, and of products with a constant matrix, which are 1x1 convolutions here.
    GroupNormalization is a normalisation over reshaped groups here: OpenVINO 2026.4 fuses the addition of a shortcut
    into its own and then reads foreign memory.
    """
    forms: dict[str, Any] = dict(MaxPool=_max_pool, Pad=_pad, Interpolate=_interpolate, Softmax=_softmax)
    forms.update(MatMul=_linear, GroupNormalization=_group_norm)
    for node in model.get_ordered_ops():
        form = forms.get(node.get_type_name())
        values = [node.input_value(i) for i in range(node.get_input_size())]
        settled = form(node.get_attributes(), *values) if form else None
        if settled is not None:
            settled.set_friendly_name(node.get_friendly_name())
            node.output(0).replace(settled.output(0))


def _max_pool(given: dict[str, Any], x: Any) -> Any:
    if given['rounding_type'] == 'ceil_torch' or set(given.get('dilations', [1])) != {1}:
        return None
    names = ('strides', 'pads_begin', 'pads_end', 'kernel', 'rounding_type', 'auto_pad')
    return opset1.max_pool(x, *(given[name] for name in names))


def _pad(given: dict[str, Any], x: Any, *amounts: Any) -> Any:
    begin, end, *value = amounts
    return opset1.pad(x, begin, end, given['pad_mode'], *value)


def _interpolate(given: dict[str, Any], x: Any, sizes: Any, *axes: Any) -> Any:
    if len(axes) != 1:  # of the version that is kept already
        return None
    by_size = given['shape_calculation_mode'] == 'sizes'
    unused = ops.constant(np.ones(len(axes[0].get_node().data), np.float32 if by_size else np.int64))
    inputs = [x, *((sizes, unused) if by_size else (unused, sizes)), axes[0]]
    return NodeFactory('opset4').create('Interpolate', [as_node(value) for value in inputs], given)


def _softmax(given: dict[str, Any], x: Any) -> Any:
    return opset1.softmax(x, given['axis'] % len(x.get_partial_shape()))


def _linear(given: dict[str, Any], x: Any, weight: Any) -> Any:
    """A product with a constant matrix as a 1x1 convolution of images of one pixel, one for each row."""
    rank = len(x.get_partial_shape())
    if weight.get_node().get_type_name() != 'Constant' or len(weight.shape) != 2 or rank < 2 or given['transpose_a']:
        return None
    matrix = weight.get_node().data if given['transpose_b'] else weight.get_node().data.T
    matrix, source = _taken_in(np.ascontiguousarray(matrix), x)
    pixels, last = (ops.constant(np.array(shape)) for shape in ([-1, matrix.shape[1], 1, 1], [len(matrix)]))
    kernel = ops.constant(matrix[:, :, None, None])
    y = ops.convolution(ops.reshape(source, pixels, False), kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    rows = ops.gather(ops.shape_of(x), ops.constant(np.arange(rank - 1)), ops.constant(0))
    return ops.reshape(y, ops.concat([rows, last], 0), special_zero=False)


def _taken_in(matrix: np.ndarray, x: Any) -> tuple[np.ndarray, Any]:
    """A matrix and what it multiplies, without reshaping and factors between, which OpenVINO would take in too."""
    while True:
        values = x.get_node().input_values()
        constants = [value for value in values if value.get_node().get_type_name() == 'Constant']
        factors = [value for value in constants if value.get_node().data.size == 1]
        if x.get_node().get_type_name() in RESHAPING:
            x = values[0]
        elif x.get_node().get_type_name() == 'Multiply' and len(factors) == 1:
            matrix = matrix * factors[0].get_node().data.astype(np.float32).item()
            x = values[1 - values.index(factors[0])]
        else:
            return matrix, x


def _group_norm(given: dict[str, Any], x: Any, scale: Any, bias: Any) -> Any:
    grouped = ops.reshape(x, ops.constant(np.array([0, given['num_groups'], -1])), special_zero=True)
    normal = ops.mvn(grouped, ops.constant(np.array([2])), True, given['epsilon'], 'inside_sqrt')
    places = ops.constant(np.array([0, *range(2, len(x.get_partial_shape()))]))
    scale, bias = (ops.unsqueeze(value, places) for value in (scale, bias))
    return ops.add(ops.multiply(ops.reshape(normal, ops.shape_of(x), special_zero=False), scale), bias)
