"""Validation by the pairs that the network was trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

from bireal_plugin.depth.camera import Camera, TrainedOn
from bireal_plugin.depth.street.pairs import StreetPairs
from tests.depth.tiny_depth import SIZE, tiny_depth

RIG = Camera(185.6, 320, 0.54, height=96)


def abs_rel(trained_on, baseline):
    """Of a disparity that is right for a training baseline of 0.54 m, on an image of another rig."""
    metric = METRICS.build(dict(type='DepthMetric', crop='none'))
    metric.trained_on = trained_on
    batch = dict(depth=torch.full((1, 4, 8), 5.0), focal=[100.0], baseline=[baseline])
    metric.process(batch, [dict(disparity=torch.full((1, 4, 8), 100 * 0.54 / 5))])
    return metric.evaluate(1)['depth/abs_rel']


def test_metres_have_the_baseline_of_training_and_not_of_the_rig_of_validation():
    trained = TrainedOn((96, 320), (RIG,))
    assert abs_rel(trained, 0.27) == pytest.approx(0, abs=1e-6)
    assert abs_rel(None, 0.27) == pytest.approx(0.5, abs=1e-6)


def log_of_test(run_tool, folder, size):
    """The log of ``bireal test`` with test images of ``size``."""
    tiny = tiny_depth(folder)
    runtime = Path(__file__).parents[3] / 'configs/depth/_base_/depth_runtime.py'
    data = (
        f"test_dataloader = dict(batch_size=1, dataset=dict(type='StreetPairs', split='test', length=2, size={size}), "
        "sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate'))\n"
    )
    text = tiny.config.read_text().split('test_dataloader')[0]
    tiny.config.write_text(
        f"_base_ = {str(runtime)!r}\n{text}{data}test_evaluator = dict(crop='none')\nval_cfg = val_evaluator = None\n"
    )
    ended = run_tool('test.py', tiny.config, tiny.checkpoint, '--work-dir', folder / 'test')
    assert ended.status == 0, ended.err
    assert 'depth/delta1' in ended.out
    return next((folder / 'test').glob('*/*.log')).read_text()


def test_images_of_another_size_than_in_training_are_warned_of(run_tool, tmp_path):
    assert 'the network was trained at 32 x 96 and sees images of 48 x 160' in log_of_test(
        run_tool, tmp_path, (48, 160)
    )


def test_images_of_the_size_of_training_are_not(run_tool, tmp_path):
    assert 'was trained at' not in log_of_test(run_tool, tmp_path, SIZE)


def test_the_truth_of_streets_is_met_whatever_their_size():
    """``TrainedOn`` of a data set is its renderer's camera at its own size."""
    for size in ((96, 320), (48, 160)):
        streets = StreetPairs('test', 1, size)
        (camera,) = streets.trained_on.cameras
        scene = streets.scene(0)
        depth = camera.depth(scene.disparity_left, width=size[1])
        np.testing.assert_allclose(depth[scene.depth_left > 0], scene.depth_left[scene.depth_left > 0], rtol=1e-5)
