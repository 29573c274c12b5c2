"""Disparity to metres."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bireal_plugin.depth.camera import Camera, TrainedOn, uniform
from bireal_plugin.depth.street.scene import render_street
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
    [
        (dict(focal=0.0), 'focal'),
        (dict(width=-1), 'width'),
        (dict(baseline=math.nan), 'baseline'),
        (dict(focal=28.0), 'one in mm becomes px'),
        (dict(focal=7e5), 'that of no rectified image'),
        (dict(baseline=54.0), 'one in mm becomes m by / 1000, one in cm by / 100'),
    ],
)
def test_a_camera_that_cannot_be_is_refused(changed, named):
    with pytest.raises(InputError, match=named):
        Camera(**{'focal': 700.0, 'width': 1242, 'baseline': 0.5, **changed})


# Focal length in px, baseline in m and size of the rig that a network was trained on: the renderer's own.
RIG = dict(size=(240, 800), focal=464.0, baseline=0.54)
SCENE = 3


def seen(size, focal):
    """The scene, as an ideal network of ``RIG`` sees it by a camera of this size and focal length."""
    return render_street(SCENE, size, focal=focal, baseline=RIG['baseline'])


def metres(size, disparity, calibration, **options):
    """Depth by the disparity that an ideal network predicts in an image of ``size``; None where it is refused."""
    trained = TrainedOn(RIG['size'], (Camera(RIG['focal'], RIG['size'][1], RIG['baseline'], height=RIG['size'][0]),))
    try:
        camera = trained.seen_by(calibration.for_image(size, **options))
    except InputError as error:
        return str(error)
    return camera.depth(disparity, width=size[1])


def own(scene, baseline):
    """The calibration of the rig that took ``scene``: its own baseline is not that of training."""
    return replace(scene.camera, baseline=baseline)


def agrees(depth, truth):
    """Within 2 %, wherever there is a surface."""
    return (np.abs(depth / np.where(truth > 0, truth, np.nan) - 1)[truth > 0] < 0.02).all()


@pytest.mark.parametrize('baseline', [0.54, 0.12])
@pytest.mark.parametrize(('size', 'focal'), [((240, 800), 464.0), ((120, 400), 232.0), ((360, 640), 700.0)])
def test_metres_of_one_scene_by_any_rig_are_the_renderers(size, focal, baseline):
    scene = seen(size, focal)
    assert agrees(metres(size, scene.disparity_left, own(scene, baseline)), scene.depth_left)


@pytest.mark.parametrize('factor', [2, 4])
def test_metres_of_a_smaller_copy_are_the_renderers(factor):
    scene = seen((240, 800), 464.0)
    small = scene.disparity_left[::factor, ::factor] / factor
    depth = metres(small.shape, small, own(scene, 0.12))
    assert agrees(depth, scene.depth_left[::factor, ::factor])


@pytest.mark.parametrize('place', ['bottom', 'centre'])
def test_metres_of_a_crop_are_the_renderers_and_unasked_are_refused(place):
    scene = seen((240, 800), 464.0)
    top, left = (40, 50) if place == 'bottom' else (20, 50)
    part = (slice(top, top + 200), slice(left, left + 700))
    assert agrees(metres((200, 700), scene.disparity_left[part], scene.camera, cropped=place), scene.depth_left[part])
    camera = scene.camera.for_image((200, 700), cropped=place)
    assert (camera.cx, camera.cy) == (scene.camera.cx - left, scene.camera.cy - top)
    assert 'nor a known crop' in metres((200, 700), scene.disparity_left[part], scene.camera)


def test_the_benchmarks_crop_of_kitti_is_known():
    scene = render_street(SCENE, (375, 1242), baseline=RIG['baseline'])
    part = (slice(23, 375), slice(13, 1229))
    assert agrees(metres((352, 1216), scene.disparity_left[part], own(scene, 0.12)), scene.depth_left[part])


@pytest.mark.parametrize('size', [(240, 400), (800, 240), (256, 900), (160, 608), (238, 800)])
def test_metres_of_other_images_are_refused(size):
    scene = seen((240, 800), 464.0)
    assert 'its focal length is not known' in metres(size, np.ones(size), scene.camera)


@pytest.mark.parametrize('size', [(375, 1242), (187, 621), (188, 621), (94, 311), (750, 2484), (124, 410), (1, 3)])
def test_sizes_are_rounded_to_whole_pixels(size):
    assert uniform((375, 1242), size)


@pytest.mark.parametrize('size', [(375, 1216), (352, 1242), (370, 1242), (192, 640), (160, 608)])
def test_other_proportions_are_no_scale(size):
    assert not uniform((375, 1242), size)


def test_the_pairs_of_training_survive_a_file():
    trained = TrainedOn((96, 320), (Camera(185.6, 320, 0.54, source='the renderer', height=96),))
    assert TrainedOn.of(json.loads(json.dumps(trained.told())), 'x') == trained
    assert TrainedOn.of(dict(dataset='old'), 'x') is None
    with pytest.raises(InputError, match='x: its description of the training pairs is damaged'):
        TrainedOn.of(dict(size=[96, 320], cameras=[dict(focal=0)]), 'x')
