"""KITTI's calibration files."""

import numpy as np
import pytest

from bireal_plugin.depth.kitti.calibration import read_calibration, stereo_camera, velodyne_to_camera, velodyne_to_image
from bireal_plugin.errors import InputError
from tests.depth.recordings import BASELINE, FOCAL, VELO_TO_CAM, cam_to_cam


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / 'calib.txt'
        path.write_bytes(text.encode())
        return path

    return write_text


@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_numbers_are_read_and_text_is_left_out(write, newline):
    calibration = read_calibration(write(cam_to_cam().replace('\n', newline)))
    assert 'calib_time' not in calibration
    np.testing.assert_array_equal(calibration['S_rect_02'], [320, 96])
    assert calibration['P_rect_03'].shape == (12,)


@pytest.mark.parametrize('cut', ['P_rect_03: 185 0 160', 'P_rect_03: 185 0 160 x 0 185 45 0 0 0 1 0', 'P_rect_03:'])
def test_an_entry_that_is_cut_off_or_garbled_is_named(write, cut):
    with pytest.raises(InputError, match='P_rect_03'):
        read_calibration(write(cam_to_cam(P_rect_03=None) + cut))


def test_a_cut_anywhere_in_the_last_line_is_an_error(write):
    text = cam_to_cam()
    start = text.index('P_rect_03')
    for stop in range(start + 1, len(text) - 2):
        with pytest.raises(InputError):
            read_calibration(write(text[:stop]))


@pytest.mark.parametrize('content', ['', 'calib_time: today\n', '\x00\x01 no calibration'])
def test_a_foreign_file_is_told(write, content):
    with pytest.raises(InputError, match=r'calib\.txt'):
        read_calibration(write(content))


def test_a_picture_is_no_calibration(tmp_path):
    path = tmp_path / 'calib.txt'
    path.write_bytes(b'\x89PNG\r\n\x1a\n\xff\xfe')
    with pytest.raises(InputError, match='no text'):
        read_calibration(path)


def test_a_missing_file_names_the_archive(tmp_path):
    with pytest.raises(InputError, match=r'2011_09_26_calib\.zip'):
        read_calibration(tmp_path / '2011_09_26' / 'calib_cam_to_cam.txt')


def test_the_stereo_camera_of_a_date(write):
    camera = stereo_camera(read_calibration(write(cam_to_cam())), source='calibration today')
    assert (camera.focal, camera.width, camera.cx, camera.cy) == (FOCAL, 320, 160, 45)
    assert camera.baseline == pytest.approx(BASELINE)
    assert camera.source == 'calibration today'


@pytest.mark.parametrize(
    ('date', 'focal', 'width', 'baseline'),
    [('2011_09_26', 721.5377, 1242, 0.5327), ('2011_10_03', 718.856, 1241, 0.5323)],
)
def test_the_published_cameras(shared_data, date, focal, width, baseline):
    calibration = read_calibration(shared_data / 'kitti' / 'raw' / date / 'calib_cam_to_cam.txt')
    camera = stereo_camera(calibration, source=date)
    assert (camera.focal, camera.width, round(camera.baseline, 4)) == (focal, width, baseline)


def test_swapped_projections_are_noticed(write):
    calibration = read_calibration(write(cam_to_cam()))
    calibration['P_rect_02'], calibration['P_rect_03'] = calibration['P_rect_03'], calibration['P_rect_02']
    with pytest.raises(InputError, match='swapped'):
        stereo_camera(calibration, source='today')


@pytest.mark.parametrize('key', ['P_rect_02', 'P_rect_03', 'S_rect_02'])
def test_a_missing_entry_is_named(write, key):
    with pytest.raises(InputError, match=key):
        stereo_camera(read_calibration(write(cam_to_cam(**{key: None}))), source='today')


def test_a_point_goes_through_scanner_camera_and_image(write):
    cameras, scanner = read_calibration(write(cam_to_cam())), read_calibration(write(VELO_TO_CAM))
    point = np.array([20.27, 3.0, 1.0, 1.0])  # 20.27 m ahead, 3 m to the left, 1 m up
    right, down, ahead, _ = velodyne_to_camera(cameras, scanner) @ point
    np.testing.assert_allclose([right, down, ahead], [-3.0, -1.08, 20.0])
    u, v, depth = velodyne_to_image(cameras, scanner) @ point
    np.testing.assert_allclose(
        [u / depth, v / depth, depth], [160 + FOCAL * (0.06 - 3) / 20, 45 - FOCAL * 1.08 / 20, 20], rtol=1e-9
    )


def test_the_right_camera_sees_the_point_at_the_disparity(write):
    cameras, scanner = read_calibration(write(cam_to_cam())), read_calibration(write(VELO_TO_CAM))
    point = np.array([12.0, -1.0, 0.5, 1.0])
    left, right = (velodyne_to_image(cameras, scanner, camera) @ point for camera in (2, 3))
    disparity = left[0] / left[2] - right[0] / right[2]
    assert disparity == pytest.approx(stereo_camera(cameras, source='today').focal * BASELINE / left[2])


def test_odometry_calibration_has_no_scanner(shared_data):
    cameras = read_calibration(shared_data / 'kitti' / 'raw' / '2011_10_03' / 'calib_cam_to_cam.txt')
    scanner = read_calibration(shared_data / 'kitti' / 'raw' / '2011_09_26' / 'calib_velo_to_cam.txt')
    with pytest.raises(InputError, match='R_rect_00'):
        velodyne_to_image(cameras, scanner)
