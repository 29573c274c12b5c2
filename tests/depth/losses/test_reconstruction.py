"""Warping, against linear interpolation in numpy."""

import numpy as np
import pytest
import torch

from bireal_plugin.depth.losses import masked_mean, warp_right_to_left


@pytest.fixture(scope='module')
def pair():
    """A right image (2, 3, 5, 12) and a disparity (2, 1, 5, 12) of which some point outside it on either side."""
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(2, 3, 5, 12, generator=generator, dtype=torch.float64)
    return right, torch.rand(2, 1, 5, 12, generator=generator, dtype=torch.float64) * 10 - 3


def test_a_pixel_is_the_right_image_at_x_minus_d(pair):
    right, disparity = pair
    warped, valid = warp_right_to_left(right, disparity)
    columns = np.arange(12)
    for n in range(2):
        for y in range(5):
            source = columns - disparity[n, 0, y].numpy()
            assert valid[n, 0, y].tolist() == ((source >= 0) & (source <= 11)).tolist()
            for c in range(3):  # np.interp holds the border value outside, too
                expected = np.interp(source, columns, right[n, c, y].numpy())
                np.testing.assert_allclose(warped[n, c, y].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('shift', [0, 1, 4])
def test_what_lies_shift_px_further_left_in_the_right_image_comes_back(shift):
    left = torch.rand(1, 3, 4, 20)
    right = torch.roll(left, -shift, dims=-1)
    warped, valid = warp_right_to_left(right, torch.full((1, 1, 4, 20), float(shift)))
    assert valid.sum() == 4 * (20 - shift)
    torch.testing.assert_close(warped[..., shift:], left[..., shift:], rtol=0, atol=1e-5)


def test_gradients_to_image_and_disparity_are_right(pair):
    right, disparity = (tensor[:1, :, :2].clone().requires_grad_() for tensor in pair)
    assert torch.autograd.gradcheck(lambda r, d: warp_right_to_left(r, d)[0], (right, disparity))


def test_masked_mean_is_the_mean_over_what_the_mask_holds():
    values = torch.arange(12.0).reshape(1, 3, 2, 2)
    mask = torch.tensor([[[[True, False], [False, True]]]])
    assert masked_mean(values, mask) == np.mean([0, 3, 4, 7, 8, 11])
    assert masked_mean(values, torch.zeros_like(mask)) == 0
