"""Heads of depth networks: Garg et al.'s FCN skip head, and a light U-Net decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError


def upsampled(disparity: Tensor, size: Sequence[int]) -> Tensor:
    """``disparity`` ``(N, 1, h, w)`` in px of w, bilinearly enlarged to ``size`` (H, W) and in px of W."""
    ratio = size[1] / disparity.shape[-1]
    return ratio * F.interpolate(disparity, size=tuple(size), mode='bilinear', align_corners=False)


@MODELS.register_module()
class FCNSkipHead(nn.Module):
    """Disparity by skip connections, unbounded (Garg et al., after FCN).

    ::

        d = score(coarsest)
        d = upsampled(d) + factor * score(next finer)        for every finer stage
        d = upsampled(d) to the image's size

    A score is a real 1x1 convolution to one channel. Every map is in px of its own width, so that upsampling doubles
    it. A map of odd size is enlarged to the size of the finer one, whatever that is.

    Args:
        in_channels: of the backbone's outputs, fine to coarse.
        factors: initial factors of the finer scores, coarse to fine; they are learned, in the code of Garg et al. a
            hundred times slower than the rest.
        initial_disparity: output of the untrained network, in px of the image's width.
        stride: of the coarsest map, by which the coarsest score's bias follows from that.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        factors: Sequence[float] = (1e-2, 1e-4, 1e-5, 1e-6),
        initial_disparity: float = 12.0,
        stride: int = 32,
    ) -> None:
        super().__init__()
        finer = len(in_channels) - 1
        if len(factors) < finer:
            raise InputError(f'FCNSkipHead: {finer} finer stages need a factor each, got factors={tuple(factors)}')
        scores = [nn.Conv2d(channels, 1, 1) for channels in in_channels]
        self.factors = nn.Parameter(torch.tensor(list(factors)[:finer], dtype=torch.float32))
        for score in scores:
            # 0: features grow along the residual stream; an untrained score of them would be tens of pixels.
            nn.init.zeros_(score.weight)
            score.bias.data.fill_(initial_disparity / stride if score is scores[-1] else 0.0)  # type: ignore[union-attr]
        self.scores = nn.ModuleList(scores)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Feature maps ``(N, C, h, w)``, fine to coarse, to one disparity ``(N, 1, H, W)`` in px; ``size``: (H, W)."""
        disparity = self.scores[-1](features[-1])
        for step, level in enumerate(range(len(features) - 2, -1, -1)):
            score = self.scores[level](features[level])
            disparity = upsampled(disparity, score.shape[-2:]) + self.factors[step] * score
        return [upsampled(disparity, size)]


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
