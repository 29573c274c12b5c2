"""FCN skip head of Garg et al.: a 1-channel score per stage, added up from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

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
