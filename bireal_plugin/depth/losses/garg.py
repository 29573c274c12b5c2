"""The loss of Garg et al. (ECCV 2016): L1 of the warped right image, and edge-aware smoothness."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn

from bireal_plugin.depth.losses.reconstruction import edge_aware_smoothness, enlarged, masked_mean, warp_right_to_left

GARG_EDGE = 0.33  # the factor in their exponential, a mean over three channels


def warp_error(disparity: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``mean |right(x - d) - left(x)|`` over the pixels whose x - d lies inside the right image.

    Args:
        disparity: ``(N, 1, H, W)`` in px of this W.
        left, right: ``(N, C, H, W)`` in 0..1.
    """
    warped, valid = warp_right_to_left(right, disparity)
    return masked_mean((warped - left).abs(), valid)


@MODELS.register_module()
class GargLoss(nn.Module):
    """``warp_error + smoothness * edge_aware_smoothness``, of the finest disparity alone, at the images' size.

    Args:
        smoothness: weight of the second term, whose disparity is in px (0.05 in their code, for images in 0..1).
        edge: see ``edge_aware_smoothness``.
    """

    needs_right_disparity = False

    def __init__(self, smoothness: float = 0.05, edge: float = GARG_EDGE) -> None:
        super().__init__()
        self.smoothness, self.edge = smoothness, edge

    def forward(self, disparities: Sequence[Tensor], left: Tensor, right: Tensor) -> dict[str, Tensor]:
        """Both terms; ``disparities`` finest first ``(N, 1, h, w)`` in px of W, images ``(N, 3, H, W)`` in 0..1."""
        disparity = enlarged(disparities[0], left)
        return dict(
            loss_warp=warp_error(disparity, left, right),
            loss_smoothness=self.smoothness * edge_aware_smoothness(disparity, left, edge=self.edge),
        )
