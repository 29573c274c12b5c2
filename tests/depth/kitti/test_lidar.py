"""Laser scans and their projection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bireal_plugin.depth.kitti.calibration import read_calibration, stereo_camera, velodyne_to_image
from bireal_plugin.depth.kitti.ground_truth import project, read_velodyne
from bireal_plugin.depth.kitti.raw import Frame, RawFolder, read_recorded
from bireal_plugin.errors import InputError

# A camera at the scanner, looking forward: u = 10 - 5 left / forward, v = 8 - 5 up / forward.
PROJECTION = np.array([[10.0, -5, 0, 0], [8, 0, -5, 0], [1, 0, 0, 0]])
SIZE = (16, 20)


def point(column, row, forward):
    """The point that falls on a pixel: coordinates count from 1."""
    return [forward, (10 - (column + 1)) * forward / 5, (8 - (row + 1)) * forward / 5, 0.5]


def test_points_fall_on_their_pixels_and_the_rest_is_0():
    depth = project(np.array([point(3, 5, 7.0), point(19, 15, 30.0)]), PROJECTION, SIZE)
    expected = np.zeros(SIZE, dtype=np.float32)
    expected[5, 3], expected[15, 19] = 7, 30
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    assert depth.dtype == np.float32


@pytest.mark.parametrize('order', [(4.0, 9.0), (9.0, 4.0)])
def test_the_nearest_point_wins(order):
    depth = project(np.array([point(2, 2, forward) for forward in order]), PROJECTION, SIZE)
    assert depth[2, 2] == pytest.approx(4)


@pytest.mark.parametrize(
    'outside',
    [point(-1, 3, 5.0), point(20, 3, 5.0), point(3, -1, 5.0), point(3, 16, 5.0), [-5.0, 0, 0, 1], [0, 1, 1, 1]],
)
def test_points_outside_or_behind_are_dropped(outside):
    assert not project(np.array([outside]), PROJECTION, SIZE).any()


def test_a_point_ahead_of_the_scanner_but_behind_the_camera_is_dropped():
    behind = PROJECTION.copy()
    behind[2, 3] = -2
    assert not project(np.array([[1.0, 0, 0, 0]]), behind, SIZE).any()


def test_velodyne_depth_is_the_forward_coordinate():
    shifted = PROJECTION.copy()
    shifted[:, 3] = -0.27 * shifted[:, 0]  # the camera is 0.27 m ahead of the scanner
    points = np.array([[10.27, 0.0, 0.0, 0.0]])
    assert project(points, shifted, SIZE)[7, 9] == pytest.approx(10)
    assert project(points, shifted, SIZE, depth='velodyne')[7, 9] == pytest.approx(10.27)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_against_one_point_at_a_time(seed):
    points = np.random.default_rng(seed).normal([6, 0, 0, 0], 4, (60, 4))
    expected = np.zeros(SIZE)
    for forward, left, up in points[:, :3]:
        if forward <= 0:
            continue
        column, row = round(10 - 5 * left / forward) - 1, round(8 - 5 * up / forward) - 1
        if 0 <= column < SIZE[1] and 0 <= row < SIZE[0]:
            expected[row, column] = min(forward, expected[row, column] or np.inf)
    np.testing.assert_allclose(project(points, PROJECTION, SIZE), expected, rtol=1e-6)


def test_an_unknown_depth_is_refused():
    with pytest.raises(InputError, match='distance'):
        project(np.zeros((1, 4)), PROJECTION, SIZE, depth='distance')


def test_a_scan_is_read_as_written(tmp_path):
    points = np.arange(12, dtype=np.float32).reshape(3, 4)
    points.tofile(tmp_path / 'scan.bin')
    np.testing.assert_array_equal(read_velodyne(tmp_path / 'scan.bin'), points)


@pytest.mark.parametrize('content', [b'', b'123456789', np.full(8, np.nan, np.float32).tobytes()])
def test_a_truncated_or_foreign_scan_is_named(tmp_path, content):
    (tmp_path / 'scan.bin').write_bytes(content)
    with pytest.raises(InputError, match=r'scan\.bin'):
        read_velodyne(tmp_path / 'scan.bin')


def test_a_missing_scan_is_named(tmp_path):
    with pytest.raises(InputError, match=r'scan\.bin'):
        read_velodyne(tmp_path / 'scan.bin')


def test_a_real_scan_agrees_with_the_disparity_of_its_pair(shared_data):
    """The depth of textured pixels moves the right image onto the left one; another depth does not."""
    raw, frame = RawFolder(shared_data / 'kitti' / 'raw'), Frame('2011_09_26', '0048', 0)
    left, right = (read_recorded(raw.image(frame, side)).astype(np.float32) for side in ('left', 'right'))
    calibration = raw.calibration(frame.date)
    projection = velodyne_to_image(calibration, raw.velodyne_calibration(frame.date))
    depth = project(read_velodyne(raw.velodyne(frame)), projection, left.shape[:2])
    row, column = np.nonzero((depth > 5) & (depth < 40))
    camera = stereo_camera(calibration, source='test')
    disparity = camera.focal * camera.baseline / depth[row, column]

    def mismatch(factor):
        other = np.rint(column - factor * disparity).astype(int)
        kept = (other >= 0) & (other < left.shape[1])
        return np.abs(left[row, column][kept] - right[row[kept], other[kept]]).mean()

    assert mismatch(1) < 0.7 * min(mismatch(0), mismatch(-1), mismatch(1.15), mismatch(0.85))


def test_the_real_calibration_puts_the_scanner_behind_the_camera(shared_data):
    date = shared_data / 'kitti' / 'raw' / '2011_09_26'
    projection = velodyne_to_image(
        read_calibration(date / 'calib_cam_to_cam.txt'), read_calibration(date / 'calib_velo_to_cam.txt')
    )
    assert 20 - (projection @ [20, 0, 0, 1])[2] == pytest.approx(0.27, abs=0.02)
