"""Real activations: in the place of the sign, one for each stage of the initialisation (Sec. 3.4), and RPReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.errors import InputError


class Clip(nn.Hardtanh):
    """``clip(-1, x, 1)``: the real activation nearest to sign, of the last stage before binarization."""

    def __init__(self) -> None:
        super().__init__(-1.0, 1.0)


class LeakyClip(nn.Module):
    """Identity on [-1, 1], slope 0.1 outside: 0.1 x + 0.9 above, 0.1 x - 0.9 below. Between ReLU and Clip."""

    slope = 0.1

    def forward(self, x: Tensor) -> Tensor:
        return x + (1 - self.slope) * (x.clamp(-1, 1) - x)


REAL_ACTIVATIONS: dict[str, type[nn.Module]] = {'relu': nn.ReLU, 'leaky_clip': LeakyClip, 'clip': Clip}


def build_activation(name: str) -> nn.Module:
    """The real activation called ``name``: 'relu', 'leaky_clip' or 'clip'."""
    if name not in REAL_ACTIVATIONS:
        raise InputError(f"activation is 'sign', {', '.join(map(repr, REAL_ACTIVATIONS))}, not {name!r}")
    return REAL_ACTIVATIONS[name]()


class RPReLU(nn.Module):
    """PReLU with a learned shift before and after it (ReActNet, ECCV 2020).

    ``x - gamma + zeta`` where ``x > gamma``, ``slope (x - gamma) + zeta`` elsewhere.

    Args:
        channels: C of the input ``(N, C, H, W)``; gamma, slope and zeta are ``(C,)`` and start at 0, 0.25 and 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.zeta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        gamma, slope, zeta = (p.to(x.dtype) for p in (self.gamma, self.slope, self.zeta))
        return F.prelu(x - gamma.view(-1, 1, 1), slope) + zeta.view(-1, 1, 1)

    def extra_repr(self) -> str:
        return str(len(self.gamma))
