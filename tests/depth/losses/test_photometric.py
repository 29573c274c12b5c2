"""The photometric loss: each term against numpy, what it is blind to, and its gradient."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from bireal_plugin.depth.losses import (
    consistency_error,
    dissimilarity,
    normalised_smoothness,
    photometric_error,
    warp_right_to_left,
)
from bireal_plugin.errors import InputError
from tests.depth.losses.test_garg import expected_smoothness, stereo


def loss(**options):
    return MODELS.build(dict(type='PhotometricLoss', **options))


def expected_dissimilarity(a, b):
    """(1 - SSIM) / 2 of two (H, W) arrays over 3 x 3 windows with mirrored borders."""
    height, width = a.shape
    a, b = np.pad(a, 1, mode='reflect'), np.pad(b, 1, mode='reflect')
    result = np.empty((height, width))
    for y, x in np.ndindex(height, width):
        p, q = a[y : y + 3, x : x + 3], b[y : y + 3, x : x + 3]
        covariance = np.mean((p - p.mean()) * (q - q.mean()))
        numerator = (2 * p.mean() * q.mean() + 1e-4) * (2 * covariance + 9e-4)
        ssim = numerator / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (p.var() + q.var() + 9e-4))
        result[y, x] = np.clip((1 - ssim) / 2, 0, 1)
    return result


def test_dissimilarity_is_the_formula():
    _, a, b = stereo()
    got = dissimilarity(a, b)
    for n, c in np.ndindex(2, 3):
        np.testing.assert_allclose(got[n, c].numpy(), expected_dissimilarity(a[n, c].numpy(), b[n, c].numpy()))


def test_an_image_is_not_dissimilar_from_itself():
    _, image, _ = stereo()
    assert dissimilarity(image, image).abs().max() < 1e-12


@pytest.mark.parametrize('ssim', [0.0, 0.85, 1.0])
def test_photometric_error_mixes_structure_and_difference(ssim):
    disparity, left, right = stereo()
    warped, valid = warp_right_to_left(right, disparity)
    error = ssim * dissimilarity(warped, left) + (1 - ssim) * (warped - left).abs()
    expected = np.mean(error.numpy()[np.broadcast_to(valid.numpy(), error.shape)])
    assert photometric_error(disparity, left, right, ssim=ssim).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('factor', [0.1, 1.0, 7.0])
def test_smoothness_is_that_of_the_disparity_over_its_mean(factor):
    disparity, left, _ = stereo()
    mean = disparity.mean((2, 3), keepdim=True)
    expected = expected_smoothness(disparity / mean, left, 1 / 3)
    assert normalised_smoothness(factor * disparity, left).item() == pytest.approx(expected, rel=1e-9)


def test_scales_are_averaged_at_full_resolution_and_coarse_ones_smoothed_less():
    disparity, left, right = stereo(size=(8, 16))
    coarse = disparity[..., ::2, ::2]
    full = torch.nn.functional.interpolate(coarse, size=(8, 16), mode='bilinear', align_corners=False)
    terms = loss(smoothness=0.1)([disparity, coarse], left, right)
    expected = (photometric_error(disparity, left, right) + photometric_error(full, left, right)) / 2
    torch.testing.assert_close(terms['loss_photometric'], expected)
    small = left.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    smooth = (normalised_smoothness(disparity, left) + normalised_smoothness(coarse, small) / 2) / 2
    torch.testing.assert_close(terms['loss_smoothness'], 0.1 * smooth)


def test_views_that_tell_one_depth_are_consistent():
    """A slanted plane: d_left(x) = 2 + 0.1 x is at x_right = x - d_left(x) in the right image."""
    x = torch.arange(40.0)
    left = 2 + 0.1 * x
    right = (2 + 0.1 * x) / 0.9
    left, right = (row.expand(1, 1, 3, 40) for row in (left, right))
    assert consistency_error(left, right).item() < 1e-6
    assert consistency_error(left, right + 4).item() == pytest.approx(4 / 40, rel=1e-5)


def test_the_second_view_is_the_first_of_the_mirrored_street():
    """Mirroring the street and exchanging the cameras changes nothing."""
    disparity, left, right = stereo()
    mirrored = stereo(seed=5)[0]
    both = loss(consistency=1.0)
    one = both([disparity], left, right, [mirrored])
    other = both([mirrored], right.flip(-1), left.flip(-1), [disparity])
    assert one.keys() == {'loss_photometric', 'loss_smoothness', 'loss_consistency'}
    for name, value in one.items():
        torch.testing.assert_close(value, other[name])


def test_consistency_without_the_second_view_is_refused():
    disparity, left, right = stereo()
    with pytest.raises(InputError, match='mirrored right images'):
        loss(consistency=1.0)([disparity], left, right)


def test_a_share_of_ssim_beyond_one_is_refused():
    with pytest.raises(InputError, match=r'ssim=1\.5'):
        loss(ssim=1.5)


def test_gradients_to_both_views_are_right():
    disparity, left, right = stereo(size=(3, 9))
    mirrored = stereo(seed=3, size=(3, 9))[0]
    both = loss(smoothness=0.1, consistency=1.0)
    inputs = (disparity.requires_grad_(), mirrored.requires_grad_())
    assert torch.autograd.gradcheck(lambda d, m: sum(both([d], left, right, [m]).values()), inputs)
