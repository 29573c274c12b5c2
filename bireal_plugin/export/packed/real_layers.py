"""Storage of real layers' weights in a packed file, and their values when they are read again.

=========== ===================== ==================================================
real_layers bits per weight       value when read
=========== ===================== ==================================================
f32         32                    the weight
f16         16                    the nearest float16
bf16        16                    the nearest bfloat16
int8        8, and 32 per channel ``q * scale`` in float32, ``|q| <= 127``
=========== ===================== ==================================================

Only kernels and matrices (``*.weight`` of more than one axis) are compressed: scales and biases are few, and decide
signs. Everything computes in float32 again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bireal_plugin.errors import InputError

DTYPES = {'f32': torch.float32, 'f16': torch.float16, 'bf16': torch.bfloat16, 'int8': torch.int8}
SCALE = ':scale'
LARGEST = 127
Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def check_real_layers(real_layers: str, *, source: str) -> None:
    """Refuse an unknown precision."""
    if real_layers not in DTYPES:
        raise InputError(f'{source}: real_layers is {", ".join(DTYPES)}, not {real_layers!r}')


def layout(state: Mapping[str, Tensor], real_layers: str) -> Layout:
    """Type and shape of every tensor of the file that holds ``state``, which may be without memory."""
    places: Layout = {}
    for name, value in state.items():
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        if value.is_floating_point() and value.dim() > 1 and name.rpartition('.')[2] == 'weight':
            dtype = DTYPES[real_layers]
            if dtype is torch.int8:
                places[name + SCALE] = torch.float32, (value.shape[0],)
        places[name] = dtype, tuple(value.shape)
    return places


def stored(state: Mapping[str, Tensor], real_layers: str) -> dict[str, Tensor]:
    """The tensors of the file that holds ``state``.

    Raises:
        InputError: a value is not finite, or too large for ``real_layers``.
    """
    tensors: dict[str, Tensor] = {}
    for name, (dtype, _) in layout(state, real_layers).items():
        if name.endswith(SCALE):
            continue
        value = state[name].detach().cpu()
        if dtype is torch.int8:
            tensors[name], tensors[name + SCALE] = quantized(value)
        else:
            tensors[name] = value.to(dtype).contiguous()
        check_finite(name, value, source='the network')
        if value.is_floating_point() and not torch.isfinite(tensors[name]).all():
            raise InputError(f'{name} has values too large for {dtype_name(dtype)}; store real layers in bf16')
    return tensors


def restored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state that a file's tensors hold, in float32."""
    state = {}
    for name, value in tensors.items():
        if name + SCALE in tensors:
            # The product is rounded once, in float32.
            state[name] = value.float() * tensors[name + SCALE].view(-1, *[1] * (value.dim() - 1))
        elif not name.endswith(SCALE):
            state[name] = value.float() if value.is_floating_point() else value
    return state


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 and its float32 scale ``(O,)``: ``round(weight / scale)``, the largest |weight| of a row at 127.

    A row (index of the first axis, the output channel) of zeros has the scale 0.
    """
    rows = weight.detach().double().flatten(1)
    scale = (rows.abs().amax(1) / LARGEST).float()
    steps = torch.where(scale == 0, 1.0, scale.double()).unsqueeze(1)
    integers = (rows / steps).round().clamp(-LARGEST, LARGEST)
    return integers.to(torch.int8).view(weight.shape), scale


def check_finite(name: str, value: Tensor, *, source: str) -> None:
    """Refuse NaN and infinity."""
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise InputError(f'{source}: {name} holds NaN or infinite values, with which no prediction is right')


def dtype_name(dtype: torch.dtype) -> str:
    """'float32' for ``torch.float32``."""
    return str(dtype).removeprefix('torch.')
