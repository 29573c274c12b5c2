"""Light U-Net decoder: upsample, concatenate the finer feature map, convolve; disparities at several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError


class RealStep(nn.Module):
    """3x3 convolution and ELU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, channels, H, W)``."""
        return F.elu(self.conv(x))


class BinaryStep(nn.Module):
    """Block as in the backbone: sign, 1-bit 3x3 convolution, BatchNorm, and a real 1x1 shortcut around them."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = BinaryConv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, channels, H, W)``."""
        return self.norm(self.conv(x)) + self.shortcut(x)


@MODELS.register_module()
class UNetHead(nn.Module):
    """Decoder with multi-scale outputs, each ``max_fraction * W * sigmoid(3x3 convolution)``.

    Each step enlarges the map twice, joins the backbone's output of that size while there is one, and convolves.

    Args:
        in_channels: of the backbone's outputs, fine to coarse.
        channels: of the steps, coarse to fine. With strides 4 to 32, five steps end at the image's size; with fewer
            the finest disparity is smaller and ``DepthNetwork`` enlarges it, which is lighter.
        scales: how many of the last steps have a disparity. In evaluation only the finest is computed.
        max_fraction: the largest disparity, as a fraction of the image's width.
        initial_fraction: the untrained network's disparity, likewise.
        binary: 1-bit convolutions in the steps; the disparities' own stay real.

    Raises:
        InputError: fewer steps than skips or scales, or fractions out of order.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int] = (128, 64, 32, 16, 8),
        scales: int = 4,
        *,
        max_fraction: float = 0.3,
        initial_fraction: float = 0.03,
        binary: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= scales <= len(channels) or len(channels) < len(in_channels) - 1:
            raise InputError(
                f'UNetHead: channels={tuple(channels)} must have a step for each of the {len(in_channels) - 1} finer '
                f'maps, and one for each of scales={scales} >= 1'
            )
        if not 0 < initial_fraction < max_fraction <= 1:
            raise InputError(
                f'UNetHead: initial_fraction={initial_fraction} and max_fraction={max_fraction} must be rising in 0..1'
            )
        self.max_fraction, self.scales = max_fraction, scales
        step = BinaryStep if binary else RealStep
        skips = [*reversed(in_channels[:-1]), *[0] * len(channels)]
        width = in_channels[-1]
        steps, outputs = [], []
        for index, (skip, wanted) in enumerate(zip(skips, channels, strict=False)):
            steps.append(step(width + skip, wanted))
            width = wanted
            if index >= len(channels) - scales:
                outputs.append(nn.Conv2d(wanted, 1, 3, padding=1))
        self.steps, self.outputs = nn.ModuleList(steps), nn.ModuleList(outputs)
        share = initial_fraction / max_fraction
        for output in outputs:
            nn.init.zeros_(output.weight)
            nn.init.constant_(output.bias, math.log(share / (1 - share)))  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Feature maps ``(N, C, h, w)``, fine to coarse, to disparities ``(N, 1, h, w)``, finest first.

        Values are in px of the image's width; ``size`` is the image's (H, W).
        """
        x = features[-1]
        disparities: list[Tensor] = []
        first = len(self.steps) - (self.scales if self.training else 1)
        for index, step in enumerate(self.steps):
            level = len(features) - 2 - index
            if level >= 0:
                x = torch.cat([F.interpolate(x, size=features[level].shape[-2:], mode='nearest'), features[level]], 1)
            else:
                x = F.interpolate(x, size=_twice(x, size), mode='nearest')
            x = step(x)
            if index >= first:
                score = self.outputs[index - (len(self.steps) - self.scales)](x)
                disparities.insert(0, self.max_fraction * size[1] * torch.sigmoid(score))
        return disparities


def _twice(x: Tensor, size: Sequence[int]) -> list[int]:
    """Twice the size of ``x``, but not beyond the image's, which an odd size would overshoot."""
    return [min(2 * side, whole) for side, whole in zip(x.shape[-2:], size, strict=True)]
