"""Signs and gradients behind signs on a CPU, each in one pass over memory instead of five to ten.

``passes.c`` is compiled by the machine's compiler at first use. Without one, and on other devices and types and in
programs that PyTorch compiles, the formulas run as PyTorch operations; both give the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from bireal_plugin.c_compiler import library
from bireal_plugin.errors import InputError

NAMES = {torch.float32: 'f32', torch.bfloat16: 'bf16'}
# Functions of x that passes.c knows: 1 on |x| < 1, 1 on |x| <= 1, 2 - 2|x| and 3 (1 - |x|)^2 on |x| < 1; 0 elsewhere.
OPEN_WINDOW, CLOSED_WINDOW, TRIANGLE, PARABOLA = range(4)
Method = TypeVar('Method', bound=Callable[..., Tensor])

_operators = torch.library.Library('bireal', 'FRAGMENT')
_operators.define('signs(Tensor x, Tensor? scale, ScalarType dtype) -> Tensor')
_operators.define('window(Tensor x, Tensor grad, int kind) -> Tensor')


@cache
def _passes() -> ctypes.CDLL | None:
    """The compiled passes; None where there is no compiler."""
    try:
        return library(Path(__file__).with_suffix('.c'))
    except InputError:
        return None


def _in_one_pass(x: Tensor, dtype: torch.dtype) -> bool:
    if torch.compiler.is_compiling():
        return False
    return x.device.type == 'cpu' and {x.dtype, dtype} <= NAMES.keys() and x.numel() > 0 and _passes() is not None


def signs(x: Tensor, scale: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """-scale where ``x < 0``, +scale elsewhere, without gradient.

    Args:
        scale: (O, 1, 1, 1) for ``x`` of (O, ...), or one number; None for 1.
        dtype: of the result, by default that of ``x``.
    """
    x, dtype = x.detach(), dtype or x.dtype
    if _in_one_pass(x, dtype) and (scale is None or scale.dtype is torch.float32):
        return torch.ops.bireal.signs(x, scale, dtype)
    # Vectorised passes over one buffer: twenty times faster on a CPU than torch.where on two scalars.
    plain = (x < 0).to(x.dtype).mul_(-2).add_(1)
    return (plain if scale is None else plain * scale.to(x.dtype)).to(dtype)


def compiled_as(kind: int) -> Callable[[Method], Method]:
    """Mark a method as a function of x that ``passes.c`` knows by ``kind``; one that overrides it is not marked."""

    def mark(method: Method) -> Method:
        method.kind = kind  # type: ignore[attr-defined]
        return method

    return mark


def windowed(grad: Tensor, window: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``grad * window(x)`` in the type of ``x``."""
    grad, kind = grad.to(x.dtype), getattr(window, 'kind', None)
    if kind is not None and _in_one_pass(x, x.dtype):
        return torch.ops.bireal.window(x, grad, kind)
    factor = window(x)
    return factor.mul_(grad) if factor.dtype.is_floating_point else grad * factor


def _dense(x: Tensor) -> tuple[Tensor, torch.memory_format]:
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return x, torch.channels_last
    return x.contiguous(), torch.contiguous_format


def _signs_on_cpu(x: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    x, form = _dense(x)
    y = torch.empty_like(x, dtype=dtype, memory_format=form)
    rows = 1 if scale is None else scale.numel()
    factors = None if scale is None else scale.contiguous()
    function = getattr(_passes(), f'signs_{NAMES[x.dtype]}_{NAMES[dtype]}')
    function(ctypes.c_int64(rows), ctypes.c_int64(x.numel() // rows), _at(x), _at(factors), _at(y))
    return y


def _window_on_cpu(x: Tensor, grad: Tensor, kind: int) -> Tensor:
    x, form = _dense(x)
    grad = grad.contiguous(memory_format=form)
    y = torch.empty_like(x, memory_format=form)
    function = getattr(_passes(), f'window_{NAMES[x.dtype]}')
    function(ctypes.c_int64(x.numel()), ctypes.c_int(kind), _at(x), _at(grad), _at(y))
    return y


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


_operators.impl('signs', _signs_on_cpu, 'CPU')
_operators.impl('window', _window_on_cpu, 'CPU')
_operators.impl('signs', lambda x, scale, dtype: torch.empty_like(x, dtype=dtype), 'Meta')
_operators.impl('window', lambda x, grad, kind: torch.empty_like(x), 'Meta')
