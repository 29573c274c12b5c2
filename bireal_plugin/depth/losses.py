"""Photometric losses, that of Garg et al. (ECCV 2016) and that of monodepth and its successors, below their parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.errors import InputError

C1, C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for values in 0..1
GARG_EDGE = 0.33  # the factor in their exponential, a mean over three channels


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


def photometric_error(disparity: Tensor, left: Tensor, right: Tensor, *, ssim: float = 0.85) -> Tensor:
    """``ssim (1 - SSIM) / 2 + (1 - ssim) |difference|`` of warped right and left image, mean over valid pixels.

    Args:
        disparity: ``(N, 1, H, W)`` in px of this W.
        left, right: ``(N, C, H, W)`` in 0..1.
        ssim: share of the structural term.
    """
    warped, valid = warp_right_to_left(right, disparity)
    error = ssim * dissimilarity(warped, left) + (1 - ssim) * (warped - left).abs()
    return masked_mean(error, valid)


def normalised_smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    """Edge-aware smoothness of ``disparity / mean(disparity)``, so that shrinking all disparities gains nothing.

    The mean is over each image; the edges are a mean over the channels of ``image`` ``(N, C, H, W)``, which is averaged
    down to the disparity's size ``(N, 1, h, w)``.
    """
    if image.shape[-2:] != disparity.shape[-2:]:
        image = F.interpolate(image, size=disparity.shape[-2:], mode='area')
    mean = disparity.mean((2, 3), keepdim=True).clamp_min(1e-6)
    return edge_aware_smoothness(disparity / mean, image, edge=1 / image.shape[1])


def consistency_error(left_disparity: Tensor, right_disparity: Tensor) -> Tensor:
    """``mean |d_left(x) - d_right(x - d_left(x))| / W``: disagreement of the two views (Godard et al.).

    Both ``(N, 1, H, W)`` in px, each of its own image and positive.
    """
    seen, valid = warp_right_to_left(right_disparity, left_disparity)
    return masked_mean((left_disparity - seen).abs(), valid) / left_disparity.shape[-1]


@MODELS.register_module()
class PhotometricLoss(nn.Module):
    """Mean over scales of ``photometric_error`` at full resolution and smoothness at the scale's own.

    With ``consistency`` > 0 the network is asked for the right view's disparity as well, and everything is averaged
    over both views. The network still maps one image to one disparity: a right image, mirrored, is the left image of a
    mirrored street, so ``DepthNetwork`` runs on it and mirrors its output.

    Args:
        ssim: share of SSIM.
        smoothness: weight of the smoothness, halved from each scale to the next coarser.
        consistency: weight of the left-right consistency (1 in Godard et al.); 0 leaves the second view out.
    """

    def __init__(self, ssim: float = 0.85, smoothness: float = 1e-3, consistency: float = 0.0) -> None:
        super().__init__()
        if not 0 <= ssim <= 1:
            raise InputError(f'PhotometricLoss: ssim={ssim} is the share of the SSIM term, 0 to 1')
        self.ssim, self.smoothness, self.consistency = ssim, smoothness, consistency

    @property
    def needs_right_disparity(self) -> bool:
        """Whether ``forward`` needs ``mirrored``."""
        return self.consistency > 0

    def forward(
        self, disparities: Sequence[Tensor], left: Tensor, right: Tensor, mirrored: Sequence[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Loss terms, each times its weight.

        Args:
            disparities: of the left images, finest first, ``(N, 1, h, w)`` in px of the images' W.
            left, right: ``(N, 3, H, W)`` in 0..1.
            mirrored: the same of the right images, mirrored as the network saw them; needed for the consistency.
        """
        terms = self._view(disparities, left, right)
        if not self.needs_right_disparity:
            return terms
        if mirrored is None:
            raise InputError('PhotometricLoss: consistency > 0 needs the disparities of the mirrored right images')
        other = self._view(mirrored, right.flip(-1), left.flip(-1))
        terms = {name: (value + other[name]) / 2 for name, value in terms.items()}
        scales = [[enlarged(d, left) for d in views] for views in zip(disparities, mirrored, strict=True)]
        errors = [consistency_error(a, b.flip(-1)) for pair in scales for a, b in (pair, pair[::-1])]
        return {**terms, 'loss_consistency': self.consistency * torch.stack(errors).mean()}

    def _view(self, disparities: Sequence[Tensor], view: Tensor, other: Tensor) -> dict[str, Tensor]:
        photometric = [photometric_error(enlarged(d, view), view, other, ssim=self.ssim) for d in disparities]
        smoothness = [normalised_smoothness(d, view) / 2**scale for scale, d in enumerate(disparities)]
        return dict(
            loss_photometric=torch.stack(photometric).mean(),
            loss_smoothness=self.smoothness * torch.stack(smoothness).mean(),
        )
