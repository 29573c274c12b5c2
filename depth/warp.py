"""Warping one image of a rectified stereo pair into the other by a disparity map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def warp_right_to_left(right: Tensor, disparity: Tensor) -> tuple[Tensor, Tensor]:
    """What the left camera would see of the right image: ``warped(x, y) = right(x - d(x, y), y)``, bilinearly.

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
    """``disparity`` at the size of ``image``; its values are in px of that size already."""
    if disparity.shape[-2:] == image.shape[-2:]:
        return disparity
    return F.interpolate(disparity, size=image.shape[-2:], mode='bilinear', align_corners=False)
