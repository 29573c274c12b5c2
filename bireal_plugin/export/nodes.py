"""The ATen operators that engines write, each with its arguments in one form: what ``walk`` takes as a table.

An engine gives a function for each name. It is called with PyTorch's shape of the output and the node's own arguments,
or what the form of the operator makes of them: rows and columns as lists of two, padding in pixels, constants that are
constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bireal_plugin.errors import InputError

aten = torch.ops.aten

# What engines call the operators. PyTorch's arguments stay as they are but where FORMS has the name.
NAMES: dict[Any, str] = {
    torch.ops.bireal.binary_conv2d.default: 'binary_conv2d',
    aten.conv2d.default: 'conv2d',
    aten.conv2d.padding: 'conv2d',
    aten.max_pool2d.default: 'max_pool2d',
    aten.avg_pool2d.default: 'avg_pool2d',
    aten.adaptive_avg_pool2d.default: 'adaptive_avg_pool2d',
    aten.mean.dim: 'mean',
    aten.upsample_nearest2d.vec: 'upsample_nearest2d',
    aten.upsample_bilinear2d.vec: 'upsample_bilinear2d',
    **{getattr(aten, name).Tensor: name for name in ('add', 'sub', 'mul', 'div')},
    **{getattr(aten, name).default: name for name in ('linear', 'abs', 'neg', 'relu', 'relu6', 'sigmoid', 'tanh')},
    **{getattr(aten, name).default: name for name in ('exp', 'clamp', 'leaky_relu', 'elu', 'prelu')},
    **{getattr(aten, name).default: name for name in ('hardtanh', 'cat', 'pad', 'permute', 'expand')},
    aten.softmax.int: 'softmax',
    aten.slice.Tensor: 'cut',
    aten.zeros_like.default: 'zeros',
    aten.new_zeros.default: 'zeros',
    aten.view.default: 'reshape',
    aten.squeeze.dim: 'reshape',
    aten.squeeze.dims: 'reshape',
    aten.unsqueeze.default: 'reshape',
}

# From the output's shape in PyTorch and the node's arguments (values of the engine, constants as tensors, plain
# numbers) to the engine's value.
LayerWriter = Callable[..., Any]
Form = Callable[..., tuple[Any, ...]]


def table(writers: Mapping[str, LayerWriter]) -> dict[Any, LayerWriter]:
    """The functions of an engine by ATen operator; those without a function have no form in the engine."""
    return {operator: _formed(writers[name], FORMS.get(name)) for operator, name in NAMES.items() if name in writers}


def _formed(writer: LayerWriter, form: Form | None) -> LayerWriter:
    if form is None:
        return writer

    def layer(shape: Sequence[int], *args: Any, **kwargs: Any) -> Any:
        return writer(shape, *form(*args, **kwargs))

    return layer


def whole_factor(have: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuse nearest upsampling of an image of ``have`` rows and columns to others than multiples."""
    if any(out % size for size, out in zip(have, wanted, strict=True)):
        raise InputError(f'nearest upsampling of {tuple(have)} to {tuple(wanted)} pixels is not by a whole factor')


def exact_ratio(have: Sequence[int], wanted: Sequence[int], factors: Sequence[float] | None) -> None:
    """Refuse bilinear resizing by factors that are not the ratios of the sizes, with which engines compute."""
    for size, out, factor in zip(have, wanted, factors or (), strict=False):
        if out != size * factor:
            raise InputError(f'bilinear resizing of {size} pixels by {factor} gives no whole number; give size=')


def _conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Any, ...]:
    weight, dilation = _constant('weight', weight), _pair(dilation)
    if isinstance(padding, str):
        same = [d * (k - 1) // 2 for d, k in zip(dilation, weight.shape[2:], strict=True)]
        padding = same if padding == 'same' else 0
    return x, weight, _bias(bias), _pair(stride), _pair(padding), dilation, groups


def _linear(x: Any, weight: Any, bias: Any = None) -> tuple[Any, ...]:
    return x, _constant('weight', weight), _bias(bias)


def _max_pool2d(
    x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Any, ...]:
    return x, _pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation)


def _avg_pool2d(
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Any, ...]:
    if divisor_override is not None:
        raise InputError('an average pool with divisor_override is not exported')
    padding = _pair(padding)
    return x, _pair(kernel), _pair(stride or kernel), padding, count_include_pad and any(padding)


def _of_two(x: Any, y: Any, *, alpha: float = 1) -> tuple[Any, ...]:
    if alpha != 1:
        raise InputError(f'alpha={alpha} is not exported; multiply the second operand by it')
    return x, y


def _hardtanh(x: Any, low: Any = -1, high: Any = 1) -> tuple[Any, ...]:
    return x, low, high


def _elu(x: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> tuple[Any, ...]:
    if (alpha, scale, input_scale) != (1, 1, 1):
        raise InputError(f'ELU is exported with alpha=1, not with alpha={alpha}, scale={scale} * {input_scale}')
    return (x,)


def _prelu(x: Any, slope: Any) -> tuple[Any, ...]:
    return x, _constant('slope', slope)


def _slice(x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> tuple[Any, ...]:
    return x, dim, start, end, step


# ``ceil_mode`` and the output sizes of adaptive pools and resizing show in the shape.
FORMS: dict[str, Form] = dict(
    conv2d=_conv2d,
    linear=_linear,
    max_pool2d=_max_pool2d,
    avg_pool2d=_avg_pool2d,
    **dict.fromkeys(('add', 'sub', 'mul', 'div'), _of_two),
    hardtanh=_hardtanh,
    elu=_elu,
    prelu=_prelu,
    cut=_slice,
)


def _pair(value: Any) -> list[int]:
    """Rows and columns from ``v``, ``[v]`` or ``[rows, columns]``."""
    values = [value] if isinstance(value, int) else list(value)
    return [int(v) for v in (values * 2 if len(values) == 1 else values)]


def _constant(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputError(f'its {name} is computed from the input, and is exported as a constant alone')
    return value


def _bias(value: Any) -> Tensor | None:
    return None if value is None else _constant('bias', value)
