"""The layout of the raw recordings."""

import numpy as np
import pytest

from bireal_plugin.depth.kitti.raw import CAMERAS, Frame, RawFolder
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.errors import InputError
from tests.depth.recordings import FOCAL, FRAME, write_date, write_frame, write_scan


def test_names_of_a_frame():
    assert FRAME.folder == '2011_09_26_drive_0001_sync'
    assert FRAME.file == '0000000007'
    assert str(FRAME) == '2011_09_26/2011_09_26_drive_0001_sync 7'


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.jpeg'])
def test_png_and_jpeg_are_found(tmp_path, suffix):
    write_frame(tmp_path, suffix=suffix)
    raw = RawFolder(tmp_path)
    assert raw.frames((FRAME.date, FRAME.drive)) == [FRAME]
    assert raw.image(FRAME, 'right') == (
        tmp_path / '2011_09_26' / '2011_09_26_drive_0001_sync' / 'image_03' / 'data' / f'0000000007{suffix}'
    )


def test_drives_and_frames_are_in_order_and_other_folders_are_left_out(tmp_path):
    frames = [Frame('2011_10_03', '0034', 3), Frame('2011_09_26', '0002', 10), Frame('2011_09_26', '0002', 9)]
    for frame in frames:
        write_frame(tmp_path, frame)
    for name in ('2011_09_26/2011_09_26_drive_0001_extract', '2011_09_26/2011_09_28_drive_0001_sync', 'notes'):
        (tmp_path / name).mkdir(parents=True)
    raw = RawFolder(tmp_path)
    assert raw.drives() == [('2011_09_26', '0002'), ('2011_10_03', '0034')]
    assert [frame.index for frame in raw.frames(('2011_09_26', '0002'))] == [9, 10]
    assert raw.frames(('2011_09_26', '0099')) == []


@pytest.mark.parametrize('stray', ['7.png', '0000000008.txt', 'Thumbs.db', '0000000009.png.part'])
def test_stray_files_are_no_frames(tmp_path, stray):
    write_frame(tmp_path)
    (tmp_path / FRAME.date / FRAME.folder / 'image_02' / 'data' / stray).touch()
    assert RawFolder(tmp_path).frames((FRAME.date, FRAME.drive)) == [FRAME]


def test_each_image_of_a_pair_is_looked_for(tmp_path):
    write_frame(tmp_path, sides=('image_02',))
    raw = RawFolder(tmp_path)
    assert raw.has_image(FRAME, 'left')
    assert not raw.has_image(FRAME, 'right')
    write_frame(tmp_path, sides=('image_03',), suffix='.jpg')
    assert raw.has_image(FRAME, 'right')


def test_a_missing_image_names_the_file_and_the_archive(tmp_path):
    with pytest.raises(InputError, match=r'0000000007.*image_03.*2011_09_26_drive_0001_sync\.zip'):
        RawFolder(tmp_path).image(FRAME, 'right')


def test_a_missing_root_is_told(tmp_path):
    with pytest.raises(InputError, match='nowhere'):
        RawFolder(tmp_path / 'nowhere')


def test_calibrations_of_a_date(tmp_path):
    write_date(tmp_path)
    raw = RawFolder(tmp_path)
    assert raw.calibration(FRAME.date)['P_rect_02'][0] == FOCAL
    np.testing.assert_array_equal(raw.velodyne_calibration(FRAME.date)['T'], [0, -0.08, -0.27])
    with pytest.raises(InputError, match='2011_09_28'):
        raw.calibration('2011_09_28')


def test_the_scan_of_a_frame(tmp_path):
    assert RawFolder(tmp_path).velodyne(FRAME) == write_scan(tmp_path, [[1, 2, 3, 4]])


@pytest.mark.parametrize('place', ['2011_09_26', '.', 'train', 'val'])
@pytest.mark.parametrize('apart', [False, True])
def test_annotated_depth_is_found_inside_or_apart(tmp_path, place, apart):
    root, own = tmp_path / 'raw', tmp_path / 'annotated'
    root.mkdir()
    own.mkdir()
    folder = (own if apart else root) / place / FRAME.folder / 'proj_depth' / 'groundtruth' / 'image_02'
    folder.mkdir(parents=True)
    path = write_depth_png(folder / f'{FRAME.file}.png', np.ones((2, 2)))
    raw = RawFolder(root, annotated=own if apart else None)
    found = raw.annotated(FRAME)
    assert found is not None
    assert found.samefile(path)
    assert raw.annotated(FRAME, 'right') is None


def test_the_real_sample(shared_data):
    raw = RawFolder(shared_data / 'kitti' / 'raw')
    frames = {drive: raw.frames(drive) for drive in raw.drives()}
    assert {drive: len(found) for drive, found in frames.items()} == {
        ('2011_09_26', '0048'): 3,
        ('2011_10_03', '0034'): 6,
    }
    assert all(raw.has_image(frame, side) for found in frames.values() for frame in found for side in CAMERAS)
    assert [raw.velodyne(found[0]).is_file() for found in frames.values()] == [True, False]
