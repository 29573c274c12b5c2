"""Geometry and signs of both losses on real pairs: a free disparity map that minimises them approaches the laser scan.

No network is involved. The map starts flat and is refined from coarse to fine. SSIM finds more false matches than L1 in
a map without a network's preference for smooth ones, so its smoothness is stronger than in training.
"""

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from bireal_plugin.depth.evaluation.metrics import DepthMetric
from bireal_plugin.depth.kitti.stereo_pairs import StereoPairs
from bireal_plugin.depth.networks.heads import upsampled

LOSSES = {
    'garg': dict(type='GargLoss', smoothness=0.05),
    'photometric': dict(type='PhotometricLoss', smoothness=0.1),
}
SIZE = (160, 608)
FLAT = 10.0  # px
STEPS = {16: 80, 8: 80, 4: 60, 2: 40}  # reduction of the images: iterations


@pytest.fixture(scope='module')
def pair(shared_data, tmp_path_factory):
    frames = tmp_path_factory.mktemp('split') / 'list.txt'
    frames.write_text('2011_09_26/2011_09_26_drive_0048_sync 0 l\n')
    return StereoPairs(shared_data / 'kitti' / 'raw', frames, size=SIZE, truth='lidar')[0]


def minimised(loss, left, right):
    """The disparity ``(1, 1, H, W)`` in px, and the loss it ends with."""
    disparity = torch.full((1, 1, SIZE[0] // 16, SIZE[1] // 16), FLAT / 16)
    for reduction, steps in STEPS.items():
        size = (SIZE[0] // reduction, SIZE[1] // reduction)
        small = [F.interpolate(image[None] / 255, size=size, mode='area') for image in (left, right)]
        free = upsampled(disparity, size).detach().clamp_min(1e-3).expm1().log().requires_grad_()
        optimizer = torch.optim.Adam([free], lr=0.1)
        for _ in range(steps):
            disparity = F.softplus(free)  # of which expm1().log() is the inverse; a disparity is positive
            value = sum(loss([disparity], *small).values())
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return upsampled(disparity.detach(), SIZE), value.item()


def errors(disparity, pair):
    metric = DepthMetric(crop='garg', cap=80)
    metric.process({key: [pair[key]] for key in ('depth', 'focal', 'baseline')}, [dict(disparity=disparity[0])])
    return metric.compute_metrics(metric.results)


@pytest.mark.parametrize('name', LOSSES)
def test_the_minimum_is_near_the_laser_scan(pair, name):
    loss = MODELS.build(LOSSES[name])
    flat = errors(torch.full((1, 1, *SIZE), FLAT), pair)
    disparity, value = minimised(loss, pair['left'], pair['right'])
    found = errors(disparity, pair)
    assert flat['abs_rel'] > 0.8
    assert found['abs_rel'] < 0.3
    assert found['delta1'] > 0.6
    # A pair in the wrong order has no depth that explains it as well.
    _, swapped = minimised(loss, pair['right'], pair['left'])
    assert swapped > 1.5 * value
