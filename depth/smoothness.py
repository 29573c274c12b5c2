"""Edge-aware smoothness: disparity may change where the image does."""

from __future__ import annotations

from torch import Tensor


def edge_aware_smoothness(disparity: Tensor, image: Tensor, *, edge: float) -> Tensor:
    """``mean |dx d| exp(-edge sum_c |dx I_c|) + mean |dy d| exp(-edge sum_c |dy I_c|)``, by forward differences.

    Args:
        disparity: ``(N, 1, H, W)``.
        image: ``(N, C, H, W)`` in 0..1; the sum runs over its channels.
        edge: how sharply an edge of the image lifts the penalty: 0.33 in Garg et al.; 1 / C is the usual mean over
            channels.
    """
    along_x = (disparity.diff(dim=-1).abs() * (-edge * image.diff(dim=-1).abs().sum(1, keepdim=True)).exp()).mean()
    along_y = (disparity.diff(dim=-2).abs() * (-edge * image.diff(dim=-2).abs().sum(1, keepdim=True)).exp()).mean()
    return along_x + along_y
