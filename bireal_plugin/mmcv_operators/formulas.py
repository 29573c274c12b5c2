"""Operators that are one formula of PyTorch: focal loss and multi-scale deformable attention; gradients by autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def fill_gradients(
    targets: Sequence[Tensor], function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor
) -> None:
    """Fills ``targets`` with the gradients of ``function(*inputs)``, which is computed once more."""
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in inputs]
        gradients = torch.autograd.grad(function(*leaves), leaves, grad_output)
    for target, gradient in zip(targets, gradients, strict=True):
        target.copy_(gradient)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """-alpha (1 - p)^gamma log(p) for the class of a row and -(1 - alpha) p^gamma log(1 - p) for the others.

    Logarithms are exact for saturated scores, where mmcv's end at log of the smallest float.

    Args:
        input: (N, C) scores before the sigmoid. target: (N,) classes, C for background.
        weight: (C,) of each row by its class, or empty. output: (N, C), which is filled.
    """
    x = input.float()
    p, log_p, log_q = x.sigmoid(), F.logsigmoid(x), F.logsigmoid(-x)
    positive, negative = -alpha * (1 - p) ** gamma * log_p, -(1 - alpha) * p**gamma * log_q
    output.copy_(torch.where(_own_class(x, target), positive, negative) * _row_weights(target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fills ``grad_input`` with the derivative of each element of the loss by its own score."""
    x = input.float()
    p, log_p, log_q = x.sigmoid(), F.logsigmoid(x), F.logsigmoid(-x)
    positive = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * log_p)
    negative = -(1 - alpha) * p**gamma * (gamma * (1 - p) * log_q - p)
    grad_input.copy_(torch.where(_own_class(x, target), positive, negative) * _row_weights(target, weight))


def _own_class(x: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(x.shape[1], device=x.device)


def _row_weights(target: Tensor, weight: Tensor) -> Tensor | float:
    """(N, 1) weights of the rows' classes; background, which has no class, counts once."""
    return F.pad(weight.float(), (0, 1), value=1.0)[target][:, None] if len(weight) else 1.0


def ms_deform_attn_forward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, im2col_step: int
) -> Tensor:
    """(N, queries, channels) by mmcv's own formula for CPUs, which computes the same on any device."""
    return _attention()(value, shapes, locations, weights)


def ms_deform_attn_backward(
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_locations: Tensor,
    grad_weights: Tensor,
    im2col_step: int,
) -> None:
    """Fills the gradients of the values, of the places where they are sampled, and of the attention."""
    attention = _attention()
    fill_gradients(
        (grad_value, grad_locations, grad_weights),
        lambda sampled, at, by: attention(sampled, shapes, at, by),
        (value, locations, weights),
        grad_output,
    )


def _attention() -> Any:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch
