"""The sign function, which is never zero, and the surrogates that replace its derivative.

Forward is always Eq. 1 of Bi-Real Net (IJCV): ``Sign(a) = -1 if a < 0 else +1``. A surrogate decides only on the
derivative used in backward: its function F approximates Sign, and F' replaces dSign/da.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bireal_plugin.binary.passes import OPEN_WINDOW, PARABOLA, TRIANGLE, compiled_as, signs, windowed
from bireal_plugin.registry import SURROGATES


def sign(x: Tensor) -> Tensor:
    """Eq. 1: -1 where ``x < 0``, +1 elsewhere, so ``sign(0) = sign(-0.0) = +1``. Same shape and dtype, no gradient."""
    return signs(x)


class Surrogate:
    """Base of derivatives for sign; an instance called with ``x`` gives ``sign(x)`` with its derivative in backward."""

    def polynomial(self, x: Tensor) -> Tensor:
        """F(x), the function whose derivative is used; only pictures need it."""
        raise NotImplementedError

    def derivative(self, x: Tensor) -> Tensor:
        """F'(x), elementwise."""
        raise NotImplementedError

    def gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        """The gradient to ``x`` from that to ``sign(x)``: ``grad * derivative(x)``, in the type of ``x``."""
        return windowed(grad, self.derivative, x)

    def __call__(self, x: Tensor) -> Tensor:
        return _Sign.apply(x, self)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return ctx.surrogate.gradient(x, grad), None


@SURROGATES.register
class STE(Surrogate):
    """Clip, the straight-through estimator of BinaryNet: F = clip(-1, x, 1); F' = 1 on |x| < 1, else 0."""

    def polynomial(self, x: Tensor) -> Tensor:
        return x.clamp(-1, 1)

    @compiled_as(OPEN_WINDOW)
    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < 1).to(x.dtype)


@SURROGATES.register
class ApproxSign(Surrogate):
    """Piecewise quadratic, Eq. 4 and 5: F = 2x + x^2 on [-1, 0), 2x - x^2 on [0, 1); F' = 2 - 2|x| there, else 0."""

    def polynomial(self, x: Tensor) -> Tensor:
        inside = x.clamp(-1, 1)
        return inside * (2 - inside.abs())

    @compiled_as(TRIANGLE)
    def derivative(self, x: Tensor) -> Tensor:
        return x.abs().mul_(-2).add_(2).clamp_(min=0)


@SURROGATES.register
class ThirdOrder(Surrogate):
    """Piecewise cubic, Eq. 6 and 7: F = (x + 1)^3 - 1 on [-1, 0), (x - 1)^3 + 1 on [0, 1); F' = 3 (1 - |x|)^2."""

    def polynomial(self, x: Tensor) -> Tensor:
        outside = 1 - x.abs().clamp(max=1)
        return sign(x) * (1 - outside**3)

    @compiled_as(PARABOLA)
    def derivative(self, x: Tensor) -> Tensor:
        return x.abs().neg_().add_(1).clamp_(min=0).square_().mul_(3)


# Functions of a tensor ``x``: ``sign(x)`` with the derivative of the surrogate.
ste_sign, approx_sign, third_order_sign = STE(), ApproxSign(), ThirdOrder()
