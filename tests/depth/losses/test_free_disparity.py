"""Both losses on a real pair, without a network: the map that minimises them approaches the laser scan."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bireal_plugin.depth.evaluation.metrics import image_errors, scored_pixels
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.ground_truth import true_depth
from bireal_plugin.depth.kitti.raw import RawFolder
from bireal_plugin.depth.losses import GargLoss, PhotometricLoss

SIZES = [(12, 40), (24, 80), (48, 160)]
FLAT = 10 / 320  # of the width

# A map of free pixels has none of a network's own smoothness, hence more weight on the term than in training.
LOSSES = {'garg': GargLoss(), 'photometric': PhotometricLoss(smoothness=0.02)}


class Pair:
    """The first frame of drive 0048, its images in any size, and how a disparity map compares with the laser."""

    def __init__(self, root):
        self.raw = RawFolder(root)
        drive = next(drive for drive in self.raw.drives() if '0048' in drive[1])
        self.frame = self.raw.frames(drive)[0]
        self.camera = stereo_camera(self.raw.calibration(self.frame.date), source='calibration')
        self.truth = true_depth(self.raw, self.frame)

    def image(self, side, size):
        pixels = cv2.imread(str(self.raw.image(self.frame, side)))[..., ::-1]
        small = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
        return torch.from_numpy(small.astype(np.float32) / 255).permute(2, 0, 1)[None]

    def errors(self, disparity):
        height, width = self.truth.shape
        disparity = scaled(disparity, (height, width))[0, 0].numpy()
        return image_errors(self.truth, self.camera.depth(disparity, width=width), scored_pixels(self.truth))


def scaled(disparity, size):
    return F.interpolate(disparity, size=size, mode='bilinear', align_corners=False) * (size[1] / disparity.shape[-1])


def minimised(loss, pair, left='left', right='right'):
    """The disparity that minimises a loss, from a flat map through finer and finer images."""
    disparity = torch.full((1, 1, *SIZES[0]), FLAT * SIZES[0][1])
    for size in SIZES:
        images = pair.image(left, size), pair.image(right, size)
        start = scaled(disparity, size)
        grids = [torch.zeros(1, 1, size[0] // step, size[1] // step, requires_grad=True) for step in (8, 4, 2, 1)]
        optimizer = torch.optim.Adam(grids, lr=0.1)
        for _ in range(80):
            free = sum(F.interpolate(grid, size=size, mode='bilinear', align_corners=False) for grid in grids)
            disparity = (start + free).clamp_min(0.05)
            optimizer.zero_grad()
            sum(loss([disparity], *images).values()).backward()
            optimizer.step()
        disparity = disparity.detach()
    return disparity


@pytest.fixture(scope='module')
def pair(shared_data):
    return Pair(shared_data / 'kitti' / 'raw')


@pytest.mark.parametrize('name', LOSSES)
def test_a_free_map_approaches_the_laser(pair, name, record_property):
    flat = pair.errors(torch.full((1, 1, *SIZES[0]), FLAT * SIZES[0][1]))
    fitted = pair.errors(minimised(LOSSES[name], pair))
    record_property('abs_rel', (flat['abs_rel'], fitted['abs_rel']))
    assert flat['abs_rel'] > 0.35
    assert fitted['abs_rel'] < 0.2
    assert fitted['delta1'] > 0.7


def test_swapped_images_lead_nowhere(pair):
    """Disparities would have to be negative: the sign of the warp is what makes the test above pass."""
    assert pair.errors(minimised(LOSSES['garg'], pair, 'right', 'left'))['abs_rel'] > 1
