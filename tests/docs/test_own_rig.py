"""The commands of docs/depth.md for a rig of one's own, as written there, on a rendered rig."""

import re

import numpy as np
import pytest
from PIL import Image

from bireal_plugin.depth.street.scene import render_street
from tests.docs.test_blocks import ROOT, blocks, command_lines, run

# So that the last checkpoint is called as in the docs and there in seconds.
SMALL = (
    'train_dataloader.dataset.size=(32,96)',
    'model.backbone.base_channels=8',
    'model.head.channels=(16,8,8)',
    'stages.real.train_cfg.max_epochs=1',
)


@pytest.mark.slow
def test_pairs_and_two_numbers_are_enough_for_metres_of_a_photograph(tmp_path):
    (block,) = (each for each in blocks(ROOT / 'docs/depth.md') if 'bireal_r18_own_pairs' in each.text)
    training, *others = command_lines(block)
    focal, baseline = (float(re.search(rf'{name}=([\d.]+)', ' '.join(training))[1]) for name in ('focal', 'baseline'))
    for folder in ('LEFT', 'RIGHT', 'photos'):
        (tmp_path / folder).mkdir()
    for seed in range(2):
        scene = render_street(seed, (240, 720), focal=focal, baseline=baseline)
        Image.fromarray(scene.left).save(tmp_path / f'LEFT/{seed}.png')
        Image.fromarray(scene.right).save(tmp_path / f'RIGHT/{seed}.png')
    Image.fromarray(scene.left).save(tmp_path / 'photos/photo.jpg')
    said = [run(words, tmp_path) for words in ([*training, *SMALL], *others)]
    assert 'nothing is scored' in said[0]
    assert f'metric depth: --focal (focal length {focal:.1f} px at width 720, baseline {baseline:.4f} m of' in said[2]
    colours = np.asarray(Image.open(tmp_path / 'depth_maps/photo_colour.png').convert('RGB'))
    assert colours.shape[0] == 240
    assert len(np.unique(colours[:, :720].reshape(-1, 3), axis=0)) > 20
