"""Rendered streets on disk, read back by what reads recordings."""

import shlex

import numpy as np
import pytest

from bireal_plugin.commands.depth import render as command
from bireal_plugin.depth.inference.inputs import find_inputs
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.ground_truth import true_depth
from bireal_plugin.depth.kitti.raw import RawFolder
from bireal_plugin.depth.kitti.stereo_pairs import StereoPairs
from bireal_plugin.depth.street.scene import render_street, write_recording
from bireal_plugin.errors import InputError

SIZE = (48, 160)


@pytest.fixture(scope='module')
def scenes():
    return [render_street(seed, SIZE) for seed in (3, 4)]


@pytest.fixture
def raw(scenes, tmp_path):
    write_recording(tmp_path, scenes)
    return RawFolder(tmp_path)


def test_pairs_come_back_with_their_camera(raw, scenes):
    pairs = StereoPairs(raw.root, 'all', size=SIZE)
    assert len(pairs) == 2
    for item, scene in zip(pairs, scenes, strict=True):
        assert np.array_equal(item['left'].permute(1, 2, 0).numpy(), scene.left)
        assert np.array_equal(item['right'].permute(1, 2, 0).numpy(), scene.right)
        assert item['focal'] == pytest.approx(scene.camera.focal)
        assert item['baseline'] == pytest.approx(scene.camera.baseline)


def test_exact_depth_comes_back_to_a_256th_of_a_metre(raw, scenes):
    frames = raw.frames(raw.drives()[0])
    for frame, scene in zip(frames, scenes, strict=True):
        assert np.abs(true_depth(raw, frame, 'annotated') - scene.depth_left).max() <= 1 / 512


def test_the_principal_point_is_the_renderers(raw, scenes):
    camera = stereo_camera(raw.calibration('2000_01_01'), source='calibration')
    assert (camera.cx, camera.cy) == pytest.approx((scenes[0].camera.cx, scenes[0].camera.cy))


def test_nothing_is_replaced(scenes, tmp_path):
    write_recording(tmp_path, scenes)
    with pytest.raises(InputError, match='exists; give another folder'):
        write_recording(tmp_path, scenes)


def test_the_example_of_the_help_finds_the_pictures(run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rendering, inference = (shlex.split(line)[2:] for line in command.__doc__.splitlines() if line.startswith('bireal'))
    assert run_command(f'depth {rendering[0]}', *rendering[1:]).status == 0
    found, problems = find_inputs([inference[1]])
    assert problems == []
    assert [item.path.name for item in found] == [f'{i:010d}.png' for i in range(8)]
