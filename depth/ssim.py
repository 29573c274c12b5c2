"""Structural dissimilarity of two images, per pixel."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

C1, C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for values in 0..1


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """``clamp((1 - SSIM) / 2, 0, 1)`` of images ``(N, C, H, W)`` in 0..1, over 3 x 3 windows; borders are mirrored.

    0 is equal; what monodepth and its successors minimise.
    """
    a, b = (F.pad(image, (1, 1, 1, 1), mode='reflect') for image in (a, b))
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    variance_a = _window_mean(a * a) - mean_a * mean_a
    variance_b = _window_mean(b * b) - mean_b * mean_b
    covariance = _window_mean(a * b) - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    similarity = similarity / ((mean_a * mean_a + mean_b * mean_b + C1) * (variance_a + variance_b + C2))
    return ((1 - similarity) / 2).clamp(0, 1)


def _window_mean(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, 3, 1)
