"""RPReLU (ReActNet, ECCV 2020): PReLU with a learned shift before and after it, per channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RPReLU(nn.Module):
    """``x - gamma + zeta`` where ``x > gamma``, ``slope (x - gamma) + zeta`` elsewhere: piecewise linear per channel.

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
