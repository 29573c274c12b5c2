"""Where metres come from."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from bireal_plugin.depth.camera import Camera, TrainedOn
from bireal_plugin.depth.inference.inputs import CameraChoice, calibration_beside
from bireal_plugin.depth.inference.outputs import depth_of
from bireal_plugin.errors import InputError

DISPARITY = np.array([[4.0, 8.0, 0.0, -1.0]], np.float32)
KITTI = (375, 1242)
# A network that was trained on KITTI's pairs of another date, and one trained on pairs of 0.2 m.
TRAINED = TrainedOn((160, 608), (Camera(707.0912, 1226, 0.5371, height=370),))
NARROW = TrainedOn((160, 608), (Camera(600.0, 1280, 0.2, height=720),))
CHOICE = CameraChoice(trained_on=TRAINED)


@pytest.fixture
def raw_image(tmp_path, shared_data):
    """The path of an image in KITTI's raw layout, with the real calibration of its date."""
    image = tmp_path / '2011_09_26/2011_09_26_drive_0048_sync/image_02/data/0000000000.png'
    image.parent.mkdir(parents=True)
    shutil.copy(shared_data / 'kitti/raw/2011_09_26/calib_cam_to_cam.txt', tmp_path / '2011_09_26')
    return image


def test_an_image_of_kitti_finds_its_calibration(raw_image):
    camera, said = CHOICE.camera(raw_image, KITTI)
    assert camera.focal == pytest.approx(721.5377)
    assert 'calib_cam_to_cam.txt' in said


def test_the_baseline_is_that_of_training_and_not_of_the_rig_that_took_the_image(raw_image):
    for trained, baseline in ((TRAINED, 0.5371), (NARROW, 0.2)):
        camera, said = replace(CHOICE, trained_on=trained).camera(raw_image, KITTI)
        assert camera.baseline == baseline
        assert f'baseline {baseline:.4f} m of the pairs in training' in said


def test_a_camera_of_training_keeps_its_own_baseline(raw_image):
    """The dates of one training differ a little in baseline, and each is known."""
    own = TrainedOn((160, 608), (*TRAINED.cameras, Camera(721.5377, 1242, 0.5327, height=375)))
    camera, _ = CameraChoice(trained_on=own).camera(raw_image, KITTI)
    assert camera.baseline == pytest.approx(0.53272, abs=1e-5)


def test_depth_is_focal_times_baseline_by_disparity(raw_image):
    camera, _ = CameraChoice(focal=60, baseline=0.5).camera(raw_image, (1, 4))
    np.testing.assert_allclose(depth_of(DISPARITY, camera), [[7.5, 3.75, np.inf, np.inf]])
    camera, _ = replace(CHOICE, focal=60).camera(raw_image, (1, 4))
    np.testing.assert_allclose(depth_of(DISPARITY, camera)[0, 0], 60 * 0.5371 / 4)


def test_a_resized_image_has_the_focal_length_of_its_width(raw_image):
    assert CHOICE.camera(raw_image, (188, 621))[0].focal == pytest.approx(721.5377 / 2)


@pytest.mark.parametrize(
    ('size', 'cropped', 'taken'),
    [
        (KITTI, None, 'calib_cam_to_cam.txt (focal length 721.5 px at width 1242'),
        ((187, 621), None, 'calib_cam_to_cam.txt for 1242 x 375, resized (focal length 360.8 px at width 621'),
        ((187, 621), 'centre', 'calib_cam_to_cam.txt for 1242 x 375, cropped, centre (focal length 721.5 px'),
        ((352, 1216), None, 'calib_cam_to_cam.txt for 1242 x 375, cropped, bottom (focal length 721.5 px'),
    ],
)
def test_the_sentence_says_what_an_image_of_another_size_is_taken_for(raw_image, size, cropped, taken):
    """The middle of an image has its proportions, and would be taken for the whole one at half the size."""
    assert taken in replace(CHOICE, cropped=cropped).camera(raw_image, size)[1]


def test_the_benchmarks_crop_has_the_focal_length_of_the_whole(raw_image):
    assert CHOICE.camera(raw_image, (352, 1216))[0].focal == pytest.approx(721.5377)


@pytest.mark.parametrize('size', [(375, 621), (1242, 375), (512, 1392), (320, 1216), (160, 608)])
def test_an_image_that_does_not_fit_its_calibration_has_no_metres_and_says_why(raw_image, size):
    """Halves, turned, unrectified and unknown crops, and squeezed ones."""
    camera, said = CHOICE.camera(raw_image, size)
    assert camera is None
    assert said.startswith(f'relative depth: the image is {size[1]} x {size[0]}, and calibration ')
    assert 'neither that image at another scale nor a known crop of it' in said
    cropped, _ = replace(CHOICE, cropped='centre').camera(raw_image, (320, 1216))
    assert cropped.focal == pytest.approx(721.5377)


def test_a_network_that_does_not_say_its_baseline_gives_no_metres(raw_image):
    camera, said = CameraChoice(network='old.pth').camera(raw_image, KITTI)
    assert camera is None
    assert 'old.pth does not say the baseline' in said
    with pytest.raises(InputError, match=r'old\.pth does not say the baseline .* give --baseline'):
        CameraChoice(network='old.pth', focal=700).camera(raw_image, KITTI)


def test_a_network_of_several_rigs_gives_no_metres(raw_image):
    mixed = TrainedOn((160, 608), (*TRAINED.cameras, *NARROW.cameras))
    camera, said = CameraChoice(trained_on=mixed).camera(raw_image, KITTI)
    assert camera is None
    assert 'baselines from 0.2000 to 0.5371 m' in said


def test_the_baseline_of_training_can_be_replaced(raw_image):
    camera, said = replace(CHOICE, baseline=0.54).camera(raw_image, KITTI)
    assert (camera.focal, camera.baseline) == (pytest.approx(721.5377), 0.54)
    assert '--baseline' in said


def test_a_baseline_that_is_not_that_of_training_is_told(raw_image):
    """Of the rig that took the image, for example, which has nothing to do with the network's disparities."""
    _, said = replace(CHOICE, baseline=0.12).camera(raw_image, KITTI)
    assert 'baseline 0.1200 m as --baseline says, where the pairs in training had 0.5371' in said
    _, said = replace(CHOICE, baseline=0.54).camera(raw_image, KITTI)
    assert 'pairs in training' not in said


@pytest.mark.parametrize('focal', [None, 700.0])
def test_a_baseline_that_is_no_rigs_is_refused_before_the_first_image(focal):
    with pytest.raises(InputError, match=r'a baseline of 54 m \(--baseline\) is that of no rig'):
        replace(CHOICE, baseline=54.0, focal=focal).check()


@pytest.mark.parametrize(('size', 'told'), [(None, False), ((160, 608), False), ((320, 1216), True)])
def test_metres_of_a_network_that_sees_another_size_are_not_to_be_trusted(raw_image, size, told):
    _, said = replace(CHOICE, size=size).camera(raw_image, KITTI)
    assert ('not to be trusted, since the network sees images of another size than in training' in said) == told


def test_an_unknown_camera_gives_relative_depth_for_any_size(tmp_path):
    camera, said = CHOICE.camera(tmp_path / 'a.png', (1, 4))
    assert camera is None
    assert said.startswith('relative depth: the camera is unknown')
    np.testing.assert_allclose(depth_of(DISPARITY, None), [[1, 0.5, np.inf, np.inf]])
    np.testing.assert_allclose(depth_of(np.full((2, 8), 8, np.float32), None), 1)


def test_relative_depth_can_be_asked_for(raw_image):
    assert replace(CHOICE, relative=True).camera(raw_image, KITTI)[0] is None


def test_kitti_without_its_calibration_is_a_sentence(raw_image):
    (raw_image.parents[3] / 'calib_cam_to_cam.txt').unlink()
    with pytest.raises(InputError, match=r'0000000000.png: its calibration .*2011_09_26/calib_cam_to_cam.txt is miss'):
        calibration_beside(raw_image)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(focal=-1.0, baseline=0.5), '--focal must be positive'),
        (dict(focal=float('nan'), baseline=0.5), '--focal must be positive'),
        (dict(baseline=0.0), '--baseline must be positive'),
        (dict(focal=700.0, baseline=0.5, calibration='x'), 'leave --calibration and --cropped out'),
        (dict(focal=700.0, cropped='centre'), 'leave --calibration and --cropped out'),
        (dict(relative=True, focal=700.0, baseline=0.5), '--relative asks for no camera'),
    ],
)
def test_flags_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        CameraChoice(**options)


@pytest.mark.parametrize(('size', 'rough'), [((375, 1242), False), ((300, 1000), False), ((3000, 4000), True)])
def test_metres_of_an_image_of_other_proportions_than_in_training_are_called_rough(tmp_path, size, rough):
    camera, said = replace(CHOICE, focal=900).camera(tmp_path / 'a.png', size)
    assert camera.focal == 900
    assert ('roughly, since its proportions' in said) == rough


def test_a_baseline_alone_is_no_scale(tmp_path):
    with pytest.raises(InputError, match='--baseline alone gives no scale'):
        CameraChoice(baseline=0.5).camera(tmp_path / 'a.png', (100, 100))
