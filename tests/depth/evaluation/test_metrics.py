"""Depth errors, recomputed from their formulas."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bireal_plugin.depth.evaluation.metrics import (
    METRIC_NAMES,
    crop_mask,
    depth_errors,
    image_errors,
    scored_pixels,
)
from bireal_plugin.errors import InputError

metres = st.floats(0.5, 79, width=32)
pairs = st.lists(st.tuples(metres, metres), min_size=1, max_size=20)


@given(pairs)
@settings(deadline=None, max_examples=50, derandomize=True)
def test_each_error_is_its_formula(pixels):
    truth, prediction = np.array(pixels, dtype=np.float32).T
    t, p, n = [float(x) for x in truth], [float(x) for x in prediction], len(pixels)
    logs = [math.log(b / a) for a, b in zip(t, p, strict=True)]
    expected = dict(
        abs_rel=sum(abs(b - a) / a for a, b in zip(t, p, strict=True)) / n,
        sq_rel=sum((b - a) ** 2 / a for a, b in zip(t, p, strict=True)) / n,
        rmse=math.sqrt(sum((b - a) ** 2 for a, b in zip(t, p, strict=True)) / n),
        rmse_log=math.sqrt(sum(x * x for x in logs) / n),
        log10=sum(abs(x) for x in logs) / n / math.log(10),
        silog=100 * math.sqrt(sum((x - sum(logs) / n) ** 2 for x in logs) / n),
        **{f'delta{k}': sum(max(a / b, b / a) < 1.25**k for a, b in zip(t, p, strict=True)) / n for k in (1, 2, 3)},
    )
    errors = depth_errors(truth, prediction)
    assert tuple(errors) == METRIC_NAMES
    assert errors == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_predictions_are_clamped_and_the_truth_is_not():
    truth = np.array([10.0, 20.0, 40.0])
    wild = depth_errors(truth, np.array([-3.0, np.inf, 60.0]), cap=50)
    assert wild == depth_errors(truth, np.array([1e-3, 50.0, 50.0]))
    assert depth_errors(np.array([90.0]), np.array([90.0]), cap=80)['rmse'] == pytest.approx(10)


def test_silog_ignores_a_factor_and_rmse_log_is_it():
    truth = np.linspace(2, 20, 7)
    errors = depth_errors(truth, 1.1 * truth)
    assert errors['silog'] == pytest.approx(0, abs=1e-6)
    assert errors['rmse_log'] == pytest.approx(math.log(1.1))


def test_delta_is_strict():
    assert depth_errors(np.array([4.0]), np.array([5.0]))['delta1'] == 0
    assert depth_errors(np.array([4.0]), np.array([4.9999]))['delta1'] == 1


def test_a_prediction_that_is_no_number_shows():
    errors = depth_errors(np.array([4.0, 4.0]), np.array([4.0, np.nan]))
    assert math.isnan(errors['abs_rel'])
    assert errors['delta3'] == 0.5


def test_no_pixel():
    with pytest.raises(InputError, match='at least one pixel'):
        depth_errors(np.empty(0), np.empty(0))


def test_pixels_lie_strictly_between_the_nearest_and_the_cap_and_in_the_crop():
    truth = np.array([[0, 1e-3, 2e-3, 49.9, 50, 80]], dtype=np.float32)
    assert scored_pixels(truth, cap=50, crop='none').tolist() == [[False, False, True, True, False, False]]
    inside = scored_pixels(np.full((375, 1242), 7.0), crop='garg')
    assert inside.sum() == (371 - 153) * (1197 - 44)


def test_the_median_is_matched_before_the_clamp():
    truth = np.array([[10.0, 20.0, 30.0, 0.0]])
    prediction = np.array([[100.0, 200.0, 300.0, 5.0]])
    pixels = truth > 0
    assert image_errors(truth, prediction, pixels, median_scaling=True)['abs_rel'] == pytest.approx(0)
    assert image_errors(truth, prediction, pixels)['abs_rel'] == pytest.approx((7 + 3 + 5 / 3) / 3)


@pytest.mark.parametrize('value', [np.inf, 0.0, -1.0])
def test_no_median_to_scale_by(value):
    with pytest.raises(InputError, match='median scaling'):
        image_errors(np.ones((1, 3)), np.full((1, 3), value), np.ones((1, 3), bool), median_scaling=True)


def bounds(mask):
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_gargs_crop_is_the_papers_mask(shared_data):
    mask = cv2.imread(str(shared_data / 'kitti/eigen_mask.png'), cv2.IMREAD_GRAYSCALE) > 0
    np.testing.assert_array_equal(crop_mask('garg', mask.shape), mask)


@pytest.mark.parametrize(
    ('name', 'size', 'expected'),
    [
        # The decimals of evaluation code, times the size, cut to integers.
        ('garg', (375, 1242), (153, 371, 44, 1197)),
        ('garg', (374, 1238), (152, 370, 44, 1193)),
        ('garg', (376, 1241), (153, 372, 44, 1196)),
        ('eigen', (375, 1242), (124, 342, 44, 1197)),
        ('eigen', (370, 1224), (122, 337, 43, 1180)),
        ('none', (3, 5), (0, 3, 0, 5)),
    ],
)
def test_a_crop_is_a_full_rectangle(name, size, expected):
    mask = crop_mask(name, size)
    assert bounds(mask) == expected
    assert mask.sum() == (expected[1] - expected[0]) * (expected[3] - expected[2])


def test_unknown_crop():
    with pytest.raises(InputError, match=r'unknown crop .garf.; there are: garg, eigen, none'):
        crop_mask('garf', (4, 4))
