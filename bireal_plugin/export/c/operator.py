"""``bireal::binary_conv2d`` of float32 tensors on a CPU through the C kernels, with the bits of the reference.

Importing this module registers it. The kernels are compiled at the first call; without a compiler, and for other types,
the reference runs.
"""

from __future__ import annotations

import ctypes
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from bireal_plugin.c_compiler import library
from bireal_plugin.errors import InputError
from bireal_plugin.export.c.layout import WORD, binary_weights
from bireal_plugin.folding.operator import binary_conv2d, operator

SOURCE = Path(__file__).parent / 'kernels' / 'operator.c'


# Of a br_window, in its order.
WINDOW = (
    *('rows', 'columns', 'channels', 'out_rows', 'out_columns', 'out_channels', 'kernel_rows', 'kernel_columns'),
    *('row_stride', 'column_stride', 'top', 'left', 'row_dilation', 'column_dilation', 'groups'),
)


class _Window(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in WINDOW]


@cache
def _kernels() -> ctypes.CDLL | None:
    """The compiled operator; None where there is no compiler."""
    try:
        return library(SOURCE)
    except InputError:
        return None


_arranged = WeakTensorKeyDictionary()  # packed weight -> (its version, weights in the kernels' order)


def _weights(packed: Tensor, channels: int, groups: int) -> Tensor:
    version, arranged = _arranged.get(packed, (None, None))
    if version != packed._version or arranged is None:
        arranged = torch.from_numpy(binary_weights(packed, channels, groups).view('<i4'))
        _arranged[packed] = packed._version, arranged
    return arranged


@operator.register_kernel('cpu')
def _on_cpu(
    x: Tensor,
    packed_weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    reference = partial(binary_conv2d, x, packed_weight, scale, bias, stride, padding, dilation, groups)
    kernels = _kernels()
    floats = all(tensor.dtype is torch.float32 for tensor in (x, scale, bias))
    if kernels is None or not floats or x.dim() != 4 or not x.numel():
        return reference()
    images, channels, *size = x.shape
    outputs, *kernel = packed_weight.shape[:3]
    out = [
        (size[axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    ]
    if min(out) < 1 or channels % groups:
        return reference()  # which says why not
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    form = torch.channels_last if last else torch.contiguous_format
    x, scale, bias = x.contiguous(memory_format=form), scale.contiguous(), bias.contiguous()
    y = torch.empty(images, outputs, *out, memory_format=form)
    words = -(-(channels // groups) // WORD) * groups
    signs = torch.empty(size[0] * size[1] * words, dtype=torch.int32)
    plane = torch.empty(0 if last else out[0] * out[1] * outputs)
    window = _Window(*size, channels, *out, outputs, *kernel, *stride, *padding, *dilation, groups)
    tensors = (x, _weights(packed_weight, channels, groups), scale, bias, signs, plane, y)
    places = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    if kernels.binary_conv2d(ctypes.byref(window), images, int(not last), *places):
        return reference()
    return y
