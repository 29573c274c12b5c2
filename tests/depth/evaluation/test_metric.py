"""The metric of validation loops."""

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

import bireal_plugin.depth.evaluation.metrics  # noqa: F401  registers it
from bireal_plugin.depth.evaluation.metrics import METRIC_NAMES
from bireal_plugin.errors import InputError

FOCAL, BASELINE = 100.0, 0.5


def batch(truth):
    """As default_collate makes it of items with these truths (N, H, W)."""
    n = len(truth)
    cameras = dict(focal=torch.full((n,), FOCAL, dtype=torch.float64), baseline=torch.full((n,), BASELINE))
    return dict(depth=torch.as_tensor(truth, dtype=torch.float32), **cameras)


def metric(**settings):
    return METRICS.build(dict(type='DepthMetric', **settings))


def found(metric, truth, disparities):
    metric.process(batch(truth), [dict(disparity=torch.as_tensor(d, dtype=torch.float32)[None]) for d in disparities])
    return metric.evaluate(len(metric.results))


def test_depth_is_focal_times_baseline_by_disparity_at_the_truths_size():
    # 10 px of the input 8 wide are 5 m; the truth is 32 wide.
    assert found(metric(crop='none'), np.full((1, 16, 32), 5.0), np.full((1, 4, 8), 10.0)) == {
        **{f'depth/{name}': pytest.approx(0, abs=1e-6) for name in METRIC_NAMES[:6]},
        **{f'depth/delta{k}': 1.0 for k in (1, 2, 3)},
    }


def test_mean_over_images_and_not_over_pixels():
    truth = np.full((2, 4, 8), 5.0)
    truth[1, :, 1:] = 0  # an eighth of the pixels counts as much as all
    errors = found(metric(crop='none'), truth, [np.full((4, 8), 10.0), np.full((4, 8), 5.0)])
    assert errors['depth/abs_rel'] == pytest.approx((0 + 1) / 2)
    assert errors['depth/rmse'] == pytest.approx((0 + 5) / 2)


def test_median_scaling_and_cap():
    truth = np.full((1, 4, 8), 5.0)
    truth[0, 0] = 30.0
    scaled = found(metric(crop='none', cap=20.0, median_scaling=True), truth, np.full((1, 4, 8), 1.0))
    assert scaled['depth/abs_rel'] == pytest.approx(0, abs=1e-6)
    assert found(metric(crop='none'), truth, np.full((1, 4, 8), 10.0))['depth/rmse'] == pytest.approx(25 / 2)


def test_the_crop_leaves_out_what_is_wrong_outside():
    truth, disparity = np.full((1, 100, 100), 5.0), np.full((1, 100, 100), 1.0)
    disparity[:, 40:99, 3:96] = 10.0
    assert found(metric(crop='garg'), truth, disparity)['depth/abs_rel'] == pytest.approx(0, abs=1e-6)
    assert found(metric(crop='none'), truth, disparity)['depth/abs_rel'] > 0.1


def test_images_without_truth_are_left_out_and_none_at_all_is_told():
    empty = np.zeros((4, 8))
    mixed = found(metric(crop='none'), np.stack([empty, empty + 5]), [empty + 10] * 2)
    assert mixed['depth/delta1'] == 1
    alone = metric(crop='none')
    with pytest.raises(InputError, match='no validation image has a ground-truth pixel'):
        alone.compute_metrics([])


def test_data_without_truth():
    with pytest.raises(InputError, match='DepthMetric needs depth in each batch'):
        metric().process(dict(focal=[1.0], baseline=[1.0]), [dict(disparity=torch.ones(1, 4, 8))])


def test_unknown_crop_is_told_at_once():
    with pytest.raises(InputError, match='unknown crop'):
        metric(crop='middle')
