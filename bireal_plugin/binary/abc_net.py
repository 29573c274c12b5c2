"""ABC-Net (Lin et al., NeurIPS 2017): a convolution as a weighted sum of M x N binary convolutions.

``sum_ij alpha_i beta_j conv(B_i, A_j)`` equals ``conv(sum_i alpha_i B_i, sum_j beta_j A_j)``. Training computes the
right-hand side, one convolution whatever M and N; the left-hand side is what 1-bit hardware runs.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.binary.conv import BinaryConv2d, Geometry, binarized, compute_dtype, convolution_gradients
from bireal_plugin.binary.sign import Surrogate, sign
from bireal_plugin.binary.weight import WeightBinarizer
from bireal_plugin.errors import InputError
from bireal_plugin.registry import BINARY_CONVOLUTIONS, WEIGHT_BINARIZERS


@WEIGHT_BINARIZERS.register
class WeightBases(WeightBinarizer):
    """``sum_i alpha_i B_i`` with ``B_i = Sign(W - mean(W) + u_i std(W))`` and alpha the least-squares fit of it to W.

    The M shifts u_i are spread evenly over [-1, 1] (0 for M = 1); std is that of the population. No gradient flows
    through mean, std and alpha: ``dL/dW = sum_i alpha_i dL/dB_i = sum_i alpha_i dL/d(sum)`` where |W| <= 1.

    Args:
        bases: M.
        per: 'layer' takes one mean, std and alpha per layer, 'channel' one per output channel.
    """

    def __init__(self, bases: int = 3, per: Literal['layer', 'channel'] = 'layer') -> None:
        if bases < 1 or per not in ('layer', 'channel'):
            raise InputError(f"WeightBases takes bases >= 1 and per='layer' or 'channel', not {bases} and {per!r}")
        self.bases, self.per = bases, per

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Bases ``(M, R, n)`` of +-1 and coefficients ``(M, R, 1)`` for R rows (layer or its O channels) of n weights.

        Bases that coincide share their coefficient (least squares of minimal norm). At least float32.
        """
        rows = weight.detach().reshape(1 if self.per == 'layer' else weight.shape[0], -1)
        rows = rows.to(torch.promote_types(weight.dtype, torch.float32))
        centred = rows - rows.mean(1, keepdim=True)
        deviation = rows.std(1, correction=0, keepdim=True)
        shifts = torch.linspace(-1, 1, self.bases, device=rows.device) if self.bases > 1 else rows.new_zeros(1)
        bases = sign(centred + shifts.to(rows.dtype).view(-1, 1, 1) * deviation)
        # Normal equations in elementwise operations and float64: exact sums of signs, and autocast leaves them alone.
        gram = torch.stack([(bases * base).sum(-1) for base in bases]).double().permute(2, 0, 1)
        target = (bases * rows).sum(-1).double().T.unsqueeze(-1)
        alpha = (torch.linalg.pinv(gram, rtol=1e-10, hermitian=True) @ target).permute(1, 0, 2)
        return bases, alpha.to(rows.dtype)

    def scale(self, weight: Tensor) -> Tensor | None:
        raise InputError(f'a sum of {self.bases} weight bases is not a scale times a sign, and is kept at inference')

    def window(self, weight: Tensor) -> Tensor:
        _, alpha = self.decompose(weight)
        total = alpha.sum(0).view(-1, *[1] * (weight.dim() - 1)).to(weight.dtype)
        return total * (weight.abs() <= 1)

    def __call__(self, weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        bases, alpha = self.decompose(weight)
        return (alpha * bases).sum(0).view_as(weight).to(weight.dtype).to(dtype or weight.dtype)

    def __repr__(self) -> str:
        return f'WeightBases({self.bases}, per={self.per!r})'


class _BasesConvolution(torch.autograd.Function):
    """``conv2d(sum_j scale_j A_j, binarize(w))``; like BinaryConv2d's, it saves the real input and recomputes signs."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        shift: Tensor,
        scale: Tensor,
        surrogate: Surrogate,
        binarizer: WeightBinarizer | None,
        geometry: Geometry,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, shift, scale)
        ctx.surrogate, ctx.binarizer, ctx.geometry = surrogate, binarizer, geometry
        ctx.bias_dtype = None if bias is None else bias.dtype
        operand, kernel = _sum_of_bases(x, shift, scale).to(dtype), binarized(weight, binarizer, dtype)
        return F.conv2d(operand, kernel, None if bias is None else bias.to(dtype), *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, shift, scale = ctx.saved_tensors
        needs_x, needs_weight, _, needs_shift, needs_scale, *_ = ctx.needs_input_grad
        needs = (needs_x or needs_shift or needs_scale, needs_weight, ctx.bias_dtype is not None)
        operand = _sum_of_bases(x, shift, scale).to(grad.dtype)
        grad_sum, grad_weight, grad_bias = convolution_gradients(
            grad, operand, weight, ctx.binarizer, ctx.bias_dtype, ctx.geometry, needs
        )
        grad_x = grad_shift = grad_scale = None
        if grad_sum is not None:
            grad_sum = grad_sum.to(x.dtype)
            shifts, scales = [], []
            for v, beta in zip(shift, scale, strict=True):
                argument = _sign_argument(x, v)
                through = ctx.surrogate.derivative(argument).mul_(grad_sum).mul_(beta.to(x.dtype))
                grad_x = through if grad_x is None else grad_x + through
                shifts.append(through.sum(dtype=shift.dtype))
                scales.append((grad_sum * sign(argument)).sum(dtype=scale.dtype))
            grad_shift, grad_scale = torch.stack(shifts), torch.stack(scales)
        return grad_x, grad_weight, grad_bias, grad_shift, grad_scale, None, None, None, None


def _sign_argument(x: Tensor, shift: Tensor) -> Tensor:
    """``2 (x + v) - 1``: has the sign of ``clip(x + v, 0, 1) - 0.5`` and is in (-1, 1) where x + v is in (0, 1)."""
    return 2 * (x + shift.to(x.dtype)) - 1


def _sum_of_bases(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for v, beta in zip(shift, scale, strict=True):
        total += sign(_sign_argument(x, v)) * beta.to(x.dtype)
    return total


@BINARY_CONVOLUTIONS.register
class ABCConv2d(BinaryConv2d):
    """M weight bases (``WeightBases``) and N activation bases ``A_j = Sign(clip(A + v_j, 0, 1) - 0.5)``, all +-1.

    The shifts v_j and scales beta_j of the activations are learned. A_j passes its gradient where 0 < A + v_j < 1; with
    another surrogate F' its factor is F'(2 (A + v_j) - 1). A real input (``binary_input=False``) uses neither, so
    ``shift`` and ``scale`` get no gradient then (DDP needs ``find_unused_parameters=True``).

    State dict: ``weight``, ``bias``, ``shift`` (N,) and ``scale`` (N,). At first thresholds are spread evenly over
    (-1, 1), where the clipped activations of the initialisation lie, and each scale is 1 / N: the sum is a staircase
    along clip(-1, A, 1), and sign for N = 1.

    Args:
        weight_bases, activation_bases: M and N.
        per: fit the weight bases per 'layer' (the paper) or per output 'channel'.
        sign: surrogate, by default the clip.
        options: as for ``BinaryConv2d``, but for ``weight``, which is always ``WeightBases``.
    """

    def __init__(
        self,
        *args: Any,
        weight_bases: int = 3,
        activation_bases: int = 3,
        per: Literal['layer', 'channel'] = 'layer',
        sign: Any = 'STE',
        weight: Any = None,
        **options: Any,
    ) -> None:
        if weight is not None:
            raise InputError(f'ABCConv2d keeps its weight bases, at inference too; leave weight={weight!r} out')
        if activation_bases < 1:
            raise InputError(f'ABCConv2d: activation_bases={activation_bases} must be at least 1')
        super().__init__(*args, sign=sign, weight=WeightBases(weight_bases, per), **options)
        self.activation_bases = activation_bases
        self._reset_bases()

    @classmethod
    def from_float(cls, conv: nn.Conv2d, **options: Any) -> BinaryConv2d:
        """As ``from_float``; ``shift`` and ``scale`` are new, so an existing optimizer lacks them."""
        twin = super().from_float(conv, **options)
        assert isinstance(twin, ABCConv2d)
        twin._reset_bases()
        return twin

    def _reset_bases(self) -> None:
        """Create shifts and scales with their first values, on the device of the weight."""
        n = self.activation_bases
        like = dict(device=self.weight.device, dtype=self.weight.dtype)
        thresholds = torch.arange(1, n + 1, **like) * (2 / (n + 1)) - 1  # type: ignore[call-overload]
        self.shift = nn.Parameter(0.5 - thresholds)
        self.scale = nn.Parameter(torch.full((n,), 1 / n, **like))  # type: ignore[call-overload]

    def convolve(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if not self.binary_input:
            return super().convolve(x, bias)
        binarizer = self.weight_binarizer if self.binary_weight else None
        how = (self.shift, self.scale, self.surrogate, binarizer, self.geometry, compute_dtype(x))
        return _BasesConvolution.apply(x, self.weight, bias, *how)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, {self.activation_bases} activation bases'
