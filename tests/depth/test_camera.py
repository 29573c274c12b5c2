"""Disparity to metres."""

import math

import numpy as np
import pytest
import torch

from bireal_plugin.depth.camera import Camera
from bireal_plugin.errors import InputError

KITTI = Camera(focal=721.5377, width=1242, baseline=0.5327, source='calibration 2011_09_26')


def test_the_focal_length_scales_with_the_width():
    assert KITTI.focal_at(608) == pytest.approx(721.5377 * 608 / 1242)


@pytest.mark.parametrize('width', [608, 1242])
def test_a_disparity_and_its_width_scale_together(width):
    disparity = 38.4 * width / 1242
    assert KITTI.depth(disparity, width=width) == pytest.approx(721.5377 * 0.5327 / 38.4)


def test_arrays_and_tensors_keep_type_shape_and_precision():
    disparity = np.array([[1.0, 2.5], [40.0, 0.25]], dtype=np.float32)
    expected = 721.5377 * 0.5327 / disparity
    array, tensor = KITTI.depth(disparity, width=1242), KITTI.depth(torch.from_numpy(disparity), width=1242)
    np.testing.assert_allclose(array, expected, rtol=1e-6)
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6)
    assert array.dtype == np.float32
    assert tensor.dtype == torch.float32


@pytest.mark.parametrize('make', [np.array, torch.tensor])
def test_what_was_not_matched_is_infinitely_far_and_nan_stays(make):
    depth = KITTI.depth(make([0.0, -3.0, math.nan, 2.0]), width=1242)
    assert np.isinf(np.asarray(depth)[:2]).all()
    assert math.isnan(depth[2])
    assert math.isfinite(depth[3])


def test_whole_numbers_are_disparities_too():
    assert KITTI.depth(np.array([0, 2]), width=1242).tolist() == pytest.approx([math.inf, 721.5377 * 0.5327 / 2])


@pytest.mark.parametrize(
    ('changed', 'named'),
    [(dict(focal=0.0), 'focal'), (dict(width=-1), 'width'), (dict(baseline=math.nan), 'baseline')],
)
def test_a_camera_that_cannot_be_is_refused(changed, named):
    with pytest.raises(InputError, match=named):
        Camera(**{'focal': 700.0, 'width': 1242, 'baseline': 0.5, **changed})
