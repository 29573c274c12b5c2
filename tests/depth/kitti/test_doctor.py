"""The check of a download."""

import contextlib
import io
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from bireal_plugin.depth.kitti.raw import Frame, RawFolder, read_recorded
from bireal_plugin.depth.kitti.splits import GARG_DRIVES
from bireal_plugin.depth.kitti.stereo_pairs import StereoPairs
from bireal_plugin.depth.kitti.survey import right_order
from tests.depth.recordings import FRAME, texture, write_date, write_frame, write_scan

DOCTOR = Path(__file__).parents[3] / 'depth' / 'doctor.py'


def doctor(*arguments):
    """Run the command in this process: (status, output, errors)."""
    out, err = io.StringIO(), io.StringIO()
    argv = [str(DOCTOR), *map(str, arguments)]
    with (
        patch.object(sys, 'argv', argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_path(argv[0], run_name='__main__')
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture
def root(tmp_path):
    """One usable pair."""
    folder = tmp_path / 'raw'
    write_date(folder)
    write_frame(folder)
    return folder


def file_of(root, side, suffix='.png'):
    return root / FRAME.date / FRAME.folder / side / 'data' / f'{FRAME.file}{suffix}'


def test_a_usable_folder_passes(root):
    status, out, _ = doctor(root)
    assert status == 0
    megabytes = sum(file_of(root, side).stat().st_size for side in ('image_02', 'image_03')) / 1e6
    row = f'2011_09_26_drive_0001_sync 1 1 1 0 0 {megabytes:.1f} 320 x 96  f 185.00 px, b 0.5327 m'
    assert out.splitlines()[2].split() == row.split()
    assert "Garg's train drives: 1 of 33, 1 pairs" in out
    assert "Garg's test drives: 0 of 28, 0 pairs" in out
    assert out.endswith('usable\n')


@pytest.mark.parametrize('flags', [(), ('--deep',)])
def test_the_real_sample_passes(shared_data, flags):
    status, out, _ = doctor(shared_data / 'kitti' / 'raw', *flags)
    assert status == 0
    assert '1242 x 375  f 721.54 px, b 0.5327 m' in out
    assert '1241 x 376  f 718.86 px, b 0.5323 m' in out


@pytest.mark.parametrize('drive', [('2011_09_26', '0048'), ('2011_10_03', '0034')])
def test_real_pairs_vote_for_their_order_and_swapped_ones_against_it(shared_data, drive):
    raw = RawFolder(shared_data / 'kitti' / 'raw')
    for frame in raw.frames(drive):
        left, right = read_recorded(raw.image(frame, 'left')), read_recorded(raw.image(frame, 'right'))
        assert right_order(left, right) > 0.95
        assert right_order(right, left) < 0.05


def test_a_swapped_copy_of_the_real_sample_is_noticed(shared_data, tmp_path):
    name = '2011_09_26_drive_0048_sync'
    shutil.copytree(
        shared_data / 'kitti' / 'raw' / '2011_09_26', tmp_path / '2011_09_26', copy_function=shutil.copyfile
    )
    drive = tmp_path / '2011_09_26' / name
    for folder in (tmp_path, *tmp_path.rglob('*/')):
        folder.chmod(0o755)
    for old, new in (('image_02', 'swapped'), ('image_03', 'image_02'), ('swapped', 'image_03')):
        (drive / old).rename(drive / new)
    status, out, _ = doctor(tmp_path)
    assert status == 1
    assert f'PROBLEM: 2011_09_26/{name}: left and right are swapped' in out
    assert f'(cd {drive} && mv image_02 swapped && mv image_03 image_02 && mv swapped image_03)' in out


def test_no_order_is_told_of_what_has_no_depth():
    left = texture(0)
    assert right_order(left, left) is None
    assert right_order(np.full_like(left, 90), np.full_like(left, 90)) is None


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_a_truncated_image_is_found_without_decoding(root, suffix):
    file_of(root, 'image_02').unlink()
    file_of(root, 'image_03').unlink()
    write_frame(root, suffix=suffix)
    path = file_of(root, 'image_03', suffix)
    path.write_bytes(path.read_bytes()[:-200])
    status, out, _ = doctor(root)
    assert status == 1
    assert str(path) in out
    assert f'unzip -o {root}/2011_09_26_drive_0001_sync.zip -d {root}' in out


def test_damage_inside_a_file_needs_the_deep_check(root):
    path = file_of(root, 'image_02')
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    assert doctor(root)[0] == 0
    status, out, _ = doctor(root, '--deep')
    assert status == 1
    assert str(path) in out


def test_a_truncated_scan_is_found(root):
    path = write_scan(root, np.ones(5))
    status, out, _ = doctor(root)
    assert status == 1
    assert f'{path} has 20 bytes' in out


def test_images_of_different_sizes_are_found(root):
    Image.fromarray(texture(0)[:, :-4]).save(file_of(root, 'image_03'))
    status, out, _ = doctor(root)
    assert status == 1
    assert '1 pairs differ in size' in out


@pytest.mark.parametrize(
    ('changed', 'named'),
    [
        (dict(P_rect_03='185 0 160 120 0 185 45 0 0 0 1 0'), 'would be left of camera 2'),
        (dict(P_rect_03='185 0 160 -300 0 185 45 0 0 0 1 0'), 'a baseline of 1.682 m'),
        (dict(P_rect_02='721 0 160 43 0 721 45 0 0 0 1 0', P_rect_03='721 0 160 -341 0 721 45 0 0 0 1 0'), '721.0 px'),
        (dict(P_rect_03=None), 'P_rect_03'),
        (dict(S_rect_02='320 200'), 'neither resized nor cut as known'),
        (dict(S_rect_02='320 98'), 'neither resized nor cut as known'),  # nearly, but StereoPairs would refuse them
    ],
)
def test_an_implausible_calibration_is_a_problem(root, changed, named):
    write_date(root, **changed)
    status, out, _ = doctor(root)
    assert status == 1
    assert any(line.startswith('PROBLEM') and named in line for line in out.splitlines())


def test_resized_images_are_noted_only(root):
    write_date(
        root,
        S_rect_02='640 192',
        P_rect_02='370 0 320 22 0 370 90 0 0 0 1 0',
        P_rect_03='370 0 320 -175 0 370 90 0 0 0 1 0',
    )
    status, out, _ = doctor(root)
    assert status == 0
    assert 'note: 2011_09_26: 2 images are 320 x 96 px instead of 640 x 192' in out


def test_the_benchmarks_crop_is_noted_only(root):
    """As ``StereoPairs`` reads it: the focal length of the whole image."""
    write_date(
        root,
        S_rect_02='1242 375',
        P_rect_02='721 0 609 43 0 721 172 0 0 0 1 0',
        P_rect_03='721 0 609 -341 0 721 172 0 0 0 1 0',
    )
    for side in ('image_02', 'image_03'):
        path = file_of(root, side)
        Image.open(path).resize((1216, 352)).save(path)
    status, out, _ = doctor(root)
    assert status == 0
    assert 'images are 1216 x 352 px instead of 1242 x 375: usable for training' in out
    assert StereoPairs(root, 'all', (32, 96))[0]['focal'] == pytest.approx(721 * 96 / 1216)


def test_images_of_other_names_are_told_and_not_downloaded_again(root):
    for side in ('image_02', 'image_03'):
        path = file_of(root, side)
        path.rename(path.with_name('000007.png'))
    status, out, _ = doctor(root)
    assert status == 1
    assert 'its 2 images, such as image_02/data/000007.png, are not called as those of the raw recordings' in out
    assert 'wget' not in out


def test_suffixes_may_be_upper_case(root):
    for side in ('image_02', 'image_03'):
        path = file_of(root, side)
        path.rename(path.with_suffix('.PNG'))
    assert doctor(root)[0] == 0


def test_a_missing_calibration_comes_with_its_commands(root):
    (root / '2011_09_26' / 'calib_cam_to_cam.txt').unlink()
    status, out, _ = doctor(root)
    assert status == 1
    assert 'raw_data/2011_09_26_calib.zip\n' in out
    assert f'unzip -o {root}/2011_09_26_calib.zip -d {root}' in out


def test_the_scanner_calibration_is_needed_where_there_are_scans(root):
    (root / '2011_09_26' / 'calib_velo_to_cam.txt').unlink()
    assert doctor(root)[0] == 0
    write_scan(root, [[1, 2, 3, 4]])
    status, out, _ = doctor(root)
    assert status == 1
    assert 'calib_velo_to_cam.txt is missing' in out


def test_images_without_a_partner_are_noted(root):
    write_frame(root, Frame('2011_09_26', '0001', 8), sides=('image_03',))
    status, out, _ = doctor(root)
    assert status == 0
    assert 'note: 2011_09_26/2011_09_26_drive_0001_sync: 1 images without a partner' in out


def test_a_list_shows_what_is_missing(root, tmp_path):
    path = tmp_path / 'test_files.txt'
    path.write_text('2011_09_26/2011_09_26_drive_0001_sync 7 l\n2011_09_28/2011_09_28_drive_0002_sync 3 l\n')
    status, out, _ = doctor(root, '--split', path)
    assert status == 1
    assert f'{path}: 1 of 2 pairs\n' in out
    assert 'first 2011_09_28/2011_09_28_drive_0002_sync 3' in out
    assert 'raw_data/2011_09_28_drive_0002/2011_09_28_drive_0002_sync.zip\n' in out


def test_an_archive_that_is_there_is_not_downloaded_again(root, tmp_path):
    (root / '2011_09_28_drive_0002_sync.zip').touch()
    path = tmp_path / 'list.txt'
    path.write_text('2011_09_28/2011_09_28_drive_0002_sync 3 l\n')
    _, out, _ = doctor(root, '--split', path)
    assert f'  unzip -n {root}/2011_09_28_drive_0002_sync.zip -d {root}\n' in out
    assert 'wget' not in out


@pytest.mark.parametrize('part', ['train', 'test'])
def test_a_whole_part_of_the_split_can_be_demanded(root, part):
    status, out, _ = doctor(root, '--need', part)
    missing = len(GARG_DRIVES[part]) - (part == 'train')
    assert status == 1
    assert f'{missing} of the {len(GARG_DRIVES[part])} {part} drives' in out
    assert out.count('wget') == missing


@pytest.mark.parametrize('depth', ['lidar', 'annotated'])
def test_ground_truth_can_be_demanded(root, depth):
    status, out, _ = doctor(root, '--need', depth)
    assert status == 1
    assert f'1 drives have no {depth} depth' in out


@pytest.mark.parametrize(
    ('made', 'told'),
    [
        ('notes', 'holds nothing of KITTI'),
        ('2011_09_26_drive_0001_sync', 'without the folder of their date'),
        ('raw/2011_09_26/2011_09_26_drive_0001_sync', 'one folder deeper'),
        ('2011_09_26/2011_09_26_drive_0001_extract', 'unsynchronised'),
    ],
)
def test_a_root_without_drives_is_explained(tmp_path, made, told):
    (tmp_path / made).mkdir(parents=True)
    status, out, _ = doctor(tmp_path)
    assert status == 1
    assert told in out


def test_drives_without_the_folder_of_their_date_are_to_be_moved(root):
    (root / FRAME.date / FRAME.folder).rename(root / FRAME.folder)
    (root / FRAME.date / 'calib_cam_to_cam.txt').rename(root / 'calib_cam_to_cam.txt')
    status, out, _ = doctor(root)
    assert status == 1
    assert 'has drives without the folder of their date' in out
    command = f'(cd {root} && mkdir -p 2011_09_26 && mv 2011_09_26_drive_* 2011_09_26/)'
    assert f'  {command}\n' in out
    subprocess.run(command, shell=True, check=True)
    assert 'PROBLEM: 2011_09_26/2011_09_26_drive' not in doctor(root)[1]


def test_images_without_the_folder_data_are_to_be_moved(root):
    for side in ('image_02', 'image_03'):
        data = file_of(root, side).parent
        for file in data.iterdir():
            file.rename(data.parent / file.name)
        data.rmdir()
    status, out, _ = doctor(root)
    assert status == 1
    assert 'images lie in image_02 and image_03 itself, without the folder data' in out
    assert 'wget' not in out
    for line in out.splitlines():
        if line.startswith('  (cd '):
            subprocess.run(line, shell=True, check=True)
    assert doctor(root)[0] == 0


OWN = dict(
    S_rect_02='320 96',
    P_rect_02='350 0 160 0 0 350 45 0 0 0 1 0',
    P_rect_03='350 0 160 -42 0 350 45 0 0 0 1 0',
)


def test_the_calibration_of_an_own_rig_is_never_to_be_overwritten(root):
    write_date(root, **OWN)
    status, out, _ = doctor(root)
    assert status == 1
    assert 'is not a KITTI camera; if the recording is of a rig of your own' in out
    assert 'unzip' not in out
    assert 'wget' not in out
    write_date(root, S_rect_02='320')
    _, out, _ = doctor(root)
    assert 'instead of 2 numbers for S_rect_02' in out
    assert 'unzip' not in out


def test_an_own_rig_under_its_own_date_is_usable_and_names_no_archive(tmp_path):
    frame = Frame('2024_05_17', '0001', 7)
    write_date(tmp_path, frame.date, **OWN)
    write_frame(tmp_path, frame)
    assert doctor(tmp_path)[0] == 0
    (tmp_path / frame.date / 'calib_cam_to_cam.txt').unlink()
    file = tmp_path / frame.date / frame.folder / 'image_02/data' / f'{frame.file}.png'
    file.write_bytes(file.read_bytes()[:-100])
    status, out, _ = doctor(tmp_path)
    assert status == 1
    assert 'write S_rect_02, P_rect_02 and P_rect_03 of your rig into it' in out
    assert '.zip' not in out


def test_images_with_transparency_are_usable(root):
    for side in ('image_02', 'image_03'):
        path = file_of(root, side)
        Image.open(path).convert('RGBA').save(path)
    assert doctor(root, '--deep')[0] == 0


@pytest.mark.parametrize(
    ('name', 'folder', 'mark', 'calibration', 'sides'),
    [
        ('odometry', '00', 'image_2', 'calib.txt', ('image_2', 'image_3')),
        ('odometry', 'dataset/sequences/04', 'image_2', 'calib.txt', ('image_2', 'image_3')),
        ('odometry in grey', 'sequences/04', 'image_0', 'calib.txt', ('image_0', 'image_1')),
        ('object', 'training', 'image_2', 'calib/000000.txt', ('image_2', 'image_3')),
        ('stereo 2015', 'training', 'disp_occ_0', 'calib_cam_to_cam/000000.txt', ('image_2', 'image_3')),
        ('stereo 2012', 'training', 'colored_0', 'calib/000000.txt', ('colored_0', 'colored_1')),
        ('tracking', 'training', 'image_02/0000', 'calib/0000.txt', ('image_02/0000', 'image_03/0000')),
    ],
)
def test_other_data_sets_of_kitti_are_named_with_what_to_do(tmp_path, name, folder, mark, calibration, sides):
    for part in (sides[0], mark):
        (tmp_path / folder / part).mkdir(parents=True, exist_ok=True)
    assert f'is KITTI {name} without {sides[1]}' in doctor(tmp_path)[1]
    (tmp_path / folder / sides[1]).mkdir(parents=True)
    file = tmp_path / folder / calibration
    file.parent.mkdir(exist_ok=True)
    own = {'stereo 2015': ('P_rect_02', 'P_rect_03'), 'odometry in grey': ('P0', 'P1')}
    keys = own.get(name, ('P2', 'P3'))
    values = (
        '718.856 0 607 45.38 0 718.856 185 -0.11 0 0 1 0.0038',
        '718.856 0 607 -337.29 0 718.856 185 2.4 0 0 1 0.0',
    )
    file.write_text(''.join(f'{key}: {value}\n' for key, value in zip(keys, values, strict=True)))
    status, out, _ = doctor(tmp_path)
    assert status == 1
    assert f'is KITTI {name}, not the raw recordings' in out
    assert f'train_dataloader.dataset.left={tmp_path / folder / sides[0]} ' in out
    assert 'train_dataloader.dataset.focal=718.856 train_dataloader.dataset.baseline=0.5323' in out
    assert f'is KITTI {name}, not the raw recordings' in doctor(tmp_path / folder)[1]


@pytest.mark.parametrize(
    ('folder', 'purpose'),
    [
        ('train/2011_09_26_drive_0001_sync/proj_depth', 'ground truth for bireal depth evaluate --annotated'),
        ('depth_selection/val_selection_cropped/image', 'single crops without the right image'),
        ('val_selection_cropped/image', 'single crops without the right image'),
    ],
)
def test_the_depth_benchmark_is_named(tmp_path, folder, purpose):
    (tmp_path / folder).resolve().mkdir(parents=True)
    status, out, _ = doctor(tmp_path)
    assert status == 1
    assert f"{tmp_path} is of KITTI's depth benchmark, {purpose}" in out


def test_the_folder_of_one_date_leads_to_the_one_above(root):
    status, out, _ = doctor(root / FRAME.date)
    assert status == 1
    assert 'is the folder of one date' in out
    assert f'bireal depth doctor {root}\n' in out


def test_packed_archives_are_to_be_unpacked(tmp_path):
    (tmp_path / '2011_09_26_drive_0001_sync.zip').touch()
    status, out, _ = doctor(tmp_path)
    assert status == 1
    assert f'unzip -n {tmp_path}/2011_09_26_drive_0001_sync.zip -d {tmp_path}' in out


def test_a_missing_root_is_one_sentence(tmp_path):
    status, _, err = doctor(tmp_path / 'nowhere')
    assert status == 1
    assert err.startswith('error: there is no folder')
    assert err.count('\n') == 1
