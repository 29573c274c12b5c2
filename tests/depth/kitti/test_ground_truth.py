"""True depth of raw frames."""

import numpy as np
import pytest
from PIL import Image

from bireal_plugin.depth.kitti.ground_truth import frames_with_truth, true_depth
from bireal_plugin.depth.kitti.raw import Frame, RawFolder
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.errors import InputError
from tests.depth.recordings import FRAME, HEIGHT, WIDTH, write_date, write_frame, write_scan


@pytest.fixture
def root(tmp_path):
    """A frame with one laser point 20 m ahead of the scanner."""
    write_date(tmp_path, S_rect_03=f'{WIDTH} {HEIGHT}')
    write_frame(tmp_path)
    write_scan(tmp_path, [[20.0, 1.0, 0.5, 0.3]])
    return tmp_path


@pytest.mark.parametrize(('kind', 'metres'), [('lidar', 20 - 0.27), ('velodyne', 20)])
def test_lidar_in_two_readings(root, kind, metres):
    depth = true_depth(RawFolder(root), FRAME, kind)
    assert depth.shape == (96, 320)
    assert depth[depth > 0] == pytest.approx([metres], abs=1e-5)


def test_the_right_image_sees_the_point_further_left(root):
    raw = RawFolder(root)
    left, right = (true_depth(raw, FRAME, side=side).nonzero()[1][0] for side in ('left', 'right'))
    assert left - right == round(185 * 0.5327 / 19.73)


def test_velodyne_is_the_scanners_distance_more_on_real_frames(shared_data):
    raw, frame = RawFolder(shared_data / 'kitti/raw'), Frame('2011_09_26', '0048', 1)
    camera, scanner = true_depth(raw, frame), true_depth(raw, frame, 'velodyne')
    seen = (camera > 0) & (scanner > 0)
    assert seen.sum() > 15_000
    assert np.median((scanner - camera)[seen]) == pytest.approx(0.27, abs=0.06)


def test_annotated_depth(root):
    raw = RawFolder(root)
    with pytest.raises(InputError, match=r'none of the 1 frames .* annotated ground truth'):
        frames_with_truth(raw, [FRAME], 'annotated')
    with pytest.raises(InputError, match='no annotated depth map of 2011_09_26/2011_09_26_drive_0001_sync 7'):
        true_depth(raw, FRAME, 'annotated')
    folder = root / FRAME.date / FRAME.folder / 'proj_depth/groundtruth/image_02'
    folder.mkdir(parents=True)
    depth = np.zeros((96, 320), np.float32)
    depth[40, 50] = 12.5
    write_depth_png(folder / f'{FRAME.file}.png', depth)
    assert frames_with_truth(raw, [FRAME, Frame('2011_09_26', '0001', 8)], 'annotated') == (FRAME,)
    np.testing.assert_array_equal(true_depth(raw, FRAME, 'annotated'), depth)


def test_annotated_depth_keeps_its_size_beside_smaller_images(root):
    folder = root / FRAME.date / FRAME.folder / 'proj_depth/groundtruth/image_02'
    folder.mkdir(parents=True)
    depth = np.zeros((191, 640), np.float32)  # 96 x 320 twice as large, to a pixel
    depth[40, 50] = 12.5
    write_depth_png(folder / f'{FRAME.file}.png', depth)
    np.testing.assert_array_equal(true_depth(RawFolder(root), FRAME, 'annotated'), depth)
    write_depth_png(folder / f'{FRAME.file}.png', depth[:180])
    with pytest.raises(InputError, match='of another shape'):
        true_depth(RawFolder(root), FRAME, 'annotated')


def test_resized_images_do_not_fit_the_scan(root):
    path = RawFolder(root).image(FRAME)
    with Image.open(path) as image:
        image.resize((WIDTH // 2, 48)).save(path)
    with pytest.raises(InputError, match=r'is 160 x 48, but the calibration.* 320 x 96'):
        true_depth(RawFolder(root), FRAME)


def test_missing_scan_and_unknown_kind(root):
    raw = RawFolder(root)
    raw.velodyne(FRAME).unlink()
    with pytest.raises(InputError, match='missing'):
        true_depth(raw, FRAME)
    with pytest.raises(InputError, match=r'unknown ground truth .sonar.'):
        true_depth(raw, FRAME, 'sonar')
