"""Heads of depth networks: Garg et al.'s FCN skip head, and a light U-Net decoder."""

from __future__ import annotations

import math
from collections import OrderedDict
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
        self.factors = nn.Parameter(torch.tensor(list(factors)[:finer], dtype=torch.float32))
        # 0: features grow along the residual stream; an untrained score of them would be tens of pixels.
        biases = [0.0] * finer + [initial_disparity / stride]
        self.scores = nn.ModuleList(_score(*pair, kernel=1) for pair in zip(in_channels, biases, strict=True))

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Feature maps ``(N, C, h, w)``, fine to coarse, to one disparity ``(N, 1, H, W)`` in px; ``size``: (H, W)."""
        disparity = self.scores[-1](features[-1])
        for step, level in enumerate(range(len(features) - 2, -1, -1)):
            score = self.scores[level](features[level])
            disparity = upsampled(disparity, score.shape[-2:]) + self.factors[step] * score
        return [upsampled(disparity, size)]


def _score(channels: int, bias: float, *, kernel: int) -> nn.Conv2d:
    """Real convolution to one channel, which gives ``bias`` until it is trained."""
    score = nn.Conv2d(channels, 1, kernel, padding=kernel // 2)
    nn.init.zeros_(score.weight)
    nn.init.constant_(score.bias, bias)  # type: ignore[arg-type]
    return score


def real_step(in_channels: int, channels: int) -> nn.Sequential:
    """3x3 convolution and ELU."""
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, channels, 3, padding=1), elu=nn.ELU()))


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
        step = BinaryStep if binary else real_step
        skips = [*reversed(in_channels[:-1]), *[0] * len(channels)]
        width, share = in_channels[-1], initial_fraction / max_fraction
        self.steps, self.outputs = nn.ModuleList(), nn.ModuleList()
        for index, (skip, wanted) in enumerate(zip(skips, channels, strict=False)):
            self.steps.append(step(width + skip, wanted))
            width = wanted
            if index >= len(channels) - scales:
                self.outputs.append(_score(wanted, math.log(share / (1 - share)), kernel=3))

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
            else:  # not beyond the image's size, which twice an odd one would overshoot
                twice = [min(2 * side, whole) for side, whole in zip(x.shape[-2:], size, strict=True)]
                x = F.interpolate(x, size=twice, mode='nearest')
            x = step(x)
            if index >= first:
                score = self.outputs[index - (len(self.steps) - self.scales)](x)
                disparities.insert(0, self.max_fraction * size[1] * torch.sigmoid(score))
        return disparities
