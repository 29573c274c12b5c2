"""Where metres come from."""

import shutil

import numpy as np
import pytest

from bireal_plugin.depth.inference.inputs import CameraChoice, calibration_beside, sentence
from bireal_plugin.depth.inference.outputs import depth_of
from bireal_plugin.errors import InputError

DISPARITY = np.array([[4.0, 8.0, 0.0, -1.0]], np.float32)


@pytest.fixture
def raw_image(tmp_path, shared_data):
    """The path of an image in KITTI's raw layout, with the real calibration of its date."""
    image = tmp_path / '2011_09_26/2011_09_26_drive_0048_sync/image_02/data/0000000000.png'
    image.parent.mkdir(parents=True)
    shutil.copy(shared_data / 'kitti/raw/2011_09_26/calib_cam_to_cam.txt', tmp_path / '2011_09_26')
    return image


def test_an_image_of_kitti_finds_its_calibration(raw_image):
    camera = CameraChoice().camera(raw_image, 1242)
    assert camera.focal == pytest.approx(721.5377)
    assert camera.baseline == pytest.approx(0.5327, abs=1e-4)
    assert 'calib_cam_to_cam.txt' in sentence(camera, 1242)


def test_depth_is_focal_times_baseline_by_disparity(raw_image):
    camera = CameraChoice(focal=600, baseline=0.5).camera(raw_image, 4)
    np.testing.assert_allclose(depth_of(DISPARITY, camera), [[75, 37.5, np.inf, np.inf]])


def test_a_resized_image_has_the_focal_length_of_its_width(raw_image):
    assert CameraChoice().camera(raw_image, 621).focal_at(621) == pytest.approx(721.5377 / 2)


def test_the_baseline_of_a_calibration_can_be_replaced(raw_image):
    camera = CameraChoice(baseline=0.54).camera(raw_image, 1242)
    assert (camera.focal, camera.baseline) == (pytest.approx(721.5377), 0.54)
    assert '--baseline' in camera.source


def test_an_unknown_camera_gives_relative_depth_for_any_size(tmp_path):
    assert CameraChoice().camera(tmp_path / 'a.png', 4) is None
    np.testing.assert_allclose(depth_of(DISPARITY, None), [[1, 0.5, np.inf, np.inf]])
    np.testing.assert_allclose(depth_of(np.full((2, 8), 8, np.float32), None), 1)
    assert sentence(None, 4).startswith('relative depth:')


def test_relative_depth_can_be_asked_for(raw_image):
    assert CameraChoice(relative=True).camera(raw_image, 1242) is None


def test_kitti_without_its_calibration_is_a_sentence(raw_image):
    (raw_image.parents[3] / 'calib_cam_to_cam.txt').unlink()
    with pytest.raises(InputError, match=r'0000000000.png: its calibration .*2011_09_26/calib_cam_to_cam.txt is miss'):
        calibration_beside(raw_image)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(focal=700.0), '--focal needs --baseline'),
        (dict(focal=-1.0, baseline=0.5), '--focal must be positive'),
        (dict(focal=float('nan'), baseline=0.5), '--focal must be positive'),
        (dict(baseline=0.0), '--baseline must be positive'),
        (dict(focal=700.0, baseline=0.5, calibration='x'), 'leave one of them out'),
        (dict(relative=True, focal=700.0, baseline=0.5), '--relative asks for no camera'),
    ],
)
def test_flags_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        CameraChoice(**options)


def test_a_baseline_alone_is_no_scale(tmp_path):
    with pytest.raises(InputError, match='--baseline alone gives no scale'):
        CameraChoice(baseline=0.5).camera(tmp_path / 'a.png', 100)
