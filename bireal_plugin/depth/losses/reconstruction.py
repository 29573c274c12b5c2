"""Parts of both losses: warping by disparity, structural dissimilarity, edge-aware smoothness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def warp_right_to_left(right: Tensor, disparity: Tensor) -> tuple[Tensor, Tensor]:
    """Left view reconstructed from the right image: ``warped(x, y) = right(x - d(x, y), y)``, bilinearly.

    Args:
        right: ``(N, C, H, W)``, an image or any other map of the right camera.
        disparity: ``(N, 1, H, W)`` of the left image, in px of this W; d > 0, since objects lie further left in the
            right image.

    Returns:
        The warped map ``(N, C, H, W)``, and where it is valid, bool ``(N, 1, H, W)``: elsewhere x - d lies outside the
        right image and the nearest border pixel stands in.
    """
    height, width = right.shape[-2:]
    x = torch.arange(width, dtype=right.dtype, device=right.device)
    y = torch.linspace(-1, 1, height, dtype=right.dtype, device=right.device) if height > 1 else x.new_zeros(1)
    source = x - disparity[:, 0]
    # grid_sample counts from -1 (centre of the first pixel) to 1 (centre of the last).
    grid = torch.stack([source * (2 / max(width - 1, 1)) - 1, y[:, None].expand_as(source)], dim=-1)
    warped = F.grid_sample(right, grid, mode='bilinear', padding_mode='border', align_corners=True)
    return warped, ((source >= 0) & (source <= width - 1))[:, None]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` ``(N, C, H, W)`` where ``mask`` ``(N, 1, H, W)`` holds; 0 where it holds nowhere."""
    weight = mask.to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(1)


def enlarged(disparity: Tensor, image: Tensor) -> Tensor:
    """Bilinear resize of ``disparity`` to the size of ``image``, in whose px its values are already."""
    if disparity.shape[-2:] == image.shape[-2:]:
        return disparity
    return F.interpolate(disparity, size=image.shape[-2:], mode='bilinear', align_corners=False)


C1, C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for values in 0..1


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """``clamp((1 - SSIM) / 2, 0, 1)`` of images ``(N, C, H, W)`` in 0..1, over 3 x 3 windows; borders are mirrored.

    0 for identical images: the structural term of monodepth's photometric loss.
    """
    a, b = (F.pad(image, (1, 1, 1, 1), mode='reflect') for image in (a, b))
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (F.avg_pool2d(values, 3, 1) for values in (a, b, a * a, b * b, a * b))
    variance_a, variance_b = mean_aa - mean_a * mean_a, mean_bb - mean_b * mean_b
    covariance = mean_ab - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    similarity = similarity / ((mean_a * mean_a + mean_b * mean_b + C1) * (variance_a + variance_b + C2))
    return ((1 - similarity) / 2).clamp(0, 1)


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
