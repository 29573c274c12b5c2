"""Faults of a download of KITTI's raw recordings, and the commands that mend them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from bireal_plugin.data.image_file import is_image_name
from bireal_plugin.depth.kitti.calibration import DATES, read_calibration, stereo_camera, velodyne_to_image
from bireal_plugin.depth.kitti.raw import DRIVE_FOLDER, FOLDERS, Frame, RawFolder
from bireal_plugin.depth.kitti.splits import GARG_DRIVES, list_frames
from bireal_plugin.depth.kitti.survey import DriveSurvey
from bireal_plugin.errors import InputError

ARCHIVES = 'https://s3.eu-central-1.amazonaws.com/avg-kitti/raw_data'
FOCAL_PER_WIDTH = (0.5, 0.7)  # KITTI's dates: 0.571 to 0.581
BASELINES = (0.4, 0.7)  # m; KITTI's dates: 0.53 to 0.54
NAMED = 3


@dataclass(frozen=True)
class Fault:
    """One fault, the commands that mend it, and whether the data cannot be used without that (``needed``)."""

    text: str
    commands: tuple[str, ...] = ()
    needed: bool = True


def drive_faults(raw: RawFolder, found: DriveSurvey) -> list[Fault]:
    """Missing, unreadable, unequal or swapped images of one drive."""
    name, faults = f'{found.date}/{found.folder}', []
    again = unpack(raw.root, found.folder, '-o')
    bare = [folder for side in FOLDERS.values() if not (folder := raw.root / name / side).joinpath('data').is_dir()]
    bare = [folder for folder in bare if folder.is_dir() and any(is_image_name(file.name) for file in folder.iterdir())]
    if bare:
        moves = (f'(cd {shlex.quote(str(folder))} && mkdir data && mv *.* data/)' for folder in bare)
        faults.append(
            Fault(
                f'{name}: images lie in {" and ".join(folder.name for folder in bare)} itself, without the folder data',
                tuple(moves),
            )
        )
    elif not (found.left or found.right) and (strange := _images_of(raw.root / name)):
        faults.append(
            Fault(
                f'{name}: its {len(strange)} images, such as {strange[0]}, are not called as those of the raw '
                'recordings, ten digits and .png or .jpg'
            )
        )
    elif not found.pairs:
        faults.append(Fault(f'{name}: no pair of images', unpack(raw.root, found.folder, '-n')))
    elif found.left != found.right or found.pairs != found.left:
        alone = found.left + found.right - 2 * found.pairs
        text = f'{name}: {alone} images without a partner are skipped'
        faults.append(Fault(text, unpack(raw.root, found.folder, '-n'), needed=False))
    if found.unreadable:
        faults.append(Fault(f'{name}: {_some(found.unreadable, "files cannot be read")}', again))
    if found.unequal:
        faults.append(Fault(f'{name}: {_some(found.unequal, "pairs differ in size")}', again))
    if found.order is not None and found.order < 0.5:
        place = shlex.quote(str(raw.root / found.date / found.folder))
        swap = f'cd {place} && mv image_02 swapped && mv image_03 image_02 && mv swapped image_03'
        text = (
            f'{name}: left and right are swapped ({found.order:.0%} of the matches lie where a right camera sees them)'
        )
        faults.append(Fault(text, (f'({swap})',)))
    return faults


def _images_of(drive: Path) -> list[Path]:
    """Images in the folders of a drive's pairs, from the drive's folder."""
    files = sorted(file for side in FOLDERS.values() for file in drive.glob(f'{side}/data/*'))
    return [file.relative_to(drive) for file in files if is_image_name(file.name)]


def date_faults(raw: RawFolder, date: str, drives: Sequence[DriveSurvey]) -> list[Fault]:
    """Faults of the calibration of one date, and images that do not fit it."""
    try:
        calibration = raw.calibration(date)
        camera = stereo_camera(calibration, source=str(raw.root / date / 'calib_cam_to_cam.txt'))
        if any(found.lidar for found in drives):
            velodyne_to_image(calibration, raw.velodyne_calibration(date))
    except InputError as error:
        # A file that is there may be somebody's own, so that it is not to be overwritten.
        there = (raw.root / date / 'calib_cam_to_cam.txt').is_file() and 'calib_cam_to_cam.txt' in str(error)
        archive = f'{date}_calib.zip'
        return [Fault(str(error), () if there else _fetch(raw.root, archive, archive, '-o'))]
    faults = []
    share = camera.focal / camera.width
    if date in DATES:
        own = 'if the recording is of a rig of your own, call its folder by another date'
        if not FOCAL_PER_WIDTH[0] < share < FOCAL_PER_WIDTH[1]:
            numbers = f'a focal length of {camera.focal:.1f} px at a width of {camera.width} px'
            faults.append(Fault(f'{date}: {numbers} is not a KITTI camera; {own}'))
        if not BASELINES[0] < camera.baseline < BASELINES[1]:
            text = f'{date}: a baseline of {camera.baseline:.3f} m is not that of KITTI, 0.53 m; {own}'
            faults.append(Fault(text))
    height, width = (int(number) for number in reversed(calibration['S_rect_02']))
    sizes: Counter[tuple[int, int]] = sum((found.sizes for found in drives), Counter())
    for size in sorted(set(sizes) - {(height, width)}):
        text = f'{date}: {sizes[size]} images are {size[1]} x {size[0]} px instead of {width} x {height}'
        try:
            camera.for_image(size)
        except InputError:
            faults.append(Fault(f'{text}: they are neither resized nor cut as known, and do not fit the calibration'))
        else:
            faults.append(Fault(f'{text}: usable for training, but laser scans do not fit them', needed=False))
    return faults


def split_faults(raw: RawFolder, path: Path) -> tuple[str, list[Fault]]:
    """A line that counts the pairs of a list on disk, and the missing ones with the drives to unpack.

    Raises:
        InputError: the list cannot be read.
    """
    frames = list(dict.fromkeys(list_frames(path)))
    drives = {(frame.date, frame.drive) for frame in frames}
    there = {frame for drive in drives for frame in raw.frames(drive, 'left')}
    there &= {frame for drive in drives for frame in raw.frames(drive, 'right')}
    missing = [frame for frame in frames if frame not in there]
    line = f'{path}: {len(frames) - len(missing)} of {len(frames)} pairs'
    if not missing:
        return line, []
    text = f'{path}: {len(missing)} of {len(frames)} pairs are missing, first {missing[0]}'
    folders = sorted({frame.folder for frame in missing})
    return line, [Fault(text, tuple(command for name in folders for command in unpack(raw.root, name, '-n')))]


def garg_line(part: str, drives: Iterable[DriveSurvey]) -> str:
    """A line that counts the drives and pairs on disk of one part of Garg's split."""
    wanted = set(GARG_DRIVES[part])
    there = [found for found in drives if (found.date, found.drive) in wanted and found.pairs]
    return f"Garg's {part} drives: {len(there)} of {len(wanted)}, {sum(found.pairs for found in there)} pairs"


def need_faults(raw: RawFolder, need: str, drives: Sequence[DriveSurvey]) -> list[Fault]:
    """Missing parts of a stated need: 'train' or 'test' drives, 'lidar' or 'annotated' depth."""
    if need in GARG_DRIVES:
        there = {(found.date, found.drive) for found in drives if found.pairs}
        missing = [Frame(date, drive, 0).folder for date, drive in GARG_DRIVES[need] if (date, drive) not in there]
        text = f"{len(missing)} of the {len(GARG_DRIVES[need])} {need} drives of Garg's split are missing"
        commands = tuple(command for name in missing for command in unpack(raw.root, name, '-n'))
        return [Fault(text, commands)] if missing else []
    lacking = [found for found in drives if found.left and not getattr(found, need)]
    if not lacking:
        return []
    text = f'{len(lacking)} drives have no {need} depth, first {lacking[0].date}/{lacking[0].folder}'
    if need == 'annotated':
        return [Fault(text, (f'unzip -n data_depth_annotated.zip -d {shlex.quote(str(raw.root))}',))]
    return [Fault(text, tuple(line for found in lacking for line in unpack(raw.root, found.folder, '-n')))]


def layout_faults(root: Path) -> list[Fault]:
    """Reason that a folder shows no drive: packed archives, one level off, or unsynchronised recordings."""
    archives = sorted([*root.glob('*_sync.zip'), *root.glob('*/*_sync.zip'), *root.glob('*_calib.zip')])
    if archives:
        commands = tuple(f'unzip -n {shlex.quote(str(path))} -d {shlex.quote(str(root))}' for path in archives)
        return [Fault(f'{root}: {len(archives)} archives are still packed', commands)]
    if drives := [path.name for path in root.iterdir() if DRIVE_FOLDER.fullmatch(path.name)]:
        if root.resolve().name == drives[0][:10]:
            return [Fault(f'{root} is the folder of one date', _doctor(root.resolve().parent))]
        place, dates = shlex.quote(str(root)), sorted({name[:10] for name in drives})
        moves = (f'(cd {place} && mkdir -p {date} && mv {date}_drive_* {date}/)' for date in dates)
        return [Fault(f'{root} has drives without the folder of their date, which holds the calibration', tuple(moves))]
    if (fault := _other_layout(root)) is not None:
        return [fault]
    below = sorted({path.parent.parent for path in root.glob('*/*/*_sync') if DRIVE_FOLDER.fullmatch(path.name)})
    if below:
        return [Fault(f'the dates are one folder deeper, in {below[0]}', _doctor(below[0]))]
    if any(root.glob('*/*_drive_*_extract')):
        return [Fault(f'{root} holds unsynchronised recordings (_extract): download those named _sync')]
    return [Fault(f'{root} holds nothing of KITTI: looked for <date>/<date>_drive_<nnnn>_sync')]


# Other data sets of KITTI: the folder above the images, a file or folder that tells them apart, the calibrations, and
# the folders of the pairs.
SIZE = np.array([1242.0, 375.0])  # of images, where a calibration does not say it, which changes no length
SIDES, GREY_SIDES = ('image_2', 'image_3'), ('image_0', 'image_1')
LAYOUTS = {
    'odometry': ('[0-9][0-9]', 'image_2', 'calib.txt', SIDES),
    'odometry in grey': ('[0-9][0-9]', 'image_0', 'calib.txt', GREY_SIDES),
    'stereo 2015': ('training', 'disp_occ_0', 'calib_cam_to_cam/*.txt', SIDES),
    'stereo 2012': ('training', 'colored_0', 'calib/*.txt', ('colored_0', 'colored_1')),
    'tracking': ('training', 'image_02/0000', 'calib/*.txt', ('image_02/0000', 'image_03/0000')),
    'object': ('training', 'image_2', 'calib/*.txt', SIDES),
}
# Its depth benchmark: a folder below the root, and what it is there for.
DEPTH_BENCHMARK = {
    '*/*_sync/proj_depth': 'ground truth for bireal depth evaluate --annotated',
    '*_selection_cropped': 'single crops without the right image',
    'depth_selection/*_selection_cropped': 'single crops without the right image',
}


def _other_layout(root: Path) -> Fault | None:
    """A data set of KITTI that is not the raw recordings; where it has pairs, with the command that trains on them."""
    for pattern, purpose in DEPTH_BENCHMARK.items():
        if any(root.glob(pattern)):
            return Fault(f"{root} is of KITTI's depth benchmark, {purpose}; pairs are in the raw recordings")
    for name, (pattern, mark, calibration, sides) in LAYOUTS.items():
        # Archives unpack into folders like dataset/sequences, and people give any of these, or one below.
        below = (sorted(root.glob(f'{above}{pattern}')) for above in ('', '*/', '*/*/'))
        itself = [path for path in root.resolve().parent.glob(pattern) if path == root.resolve()]
        folder = next((path for path in chain(itself, *below) if (path / mark).is_dir()), None)
        if folder is None:
            continue
        left, right = (folder / side for side in sides)
        if not right.is_dir():
            return Fault(
                f'{root} is KITTI {name} without {sides[1]}: pairs are needed, so download the right images too'
            )
        numbers = ['focal=PX', 'baseline=METRES']
        for file in sorted(folder.glob(calibration))[:1]:
            with suppress(InputError):
                camera = stereo_camera(_as_raw(read_calibration(file), grey=sides == GREY_SIDES), source=str(file))
                numbers = [f'focal={camera.focal:.6g}', f'baseline={camera.baseline:.4f}']
        given = [f'left={shlex.quote(str(left))}', f'right={shlex.quote(str(right))}', *numbers]
        options = ' '.join(f'train_dataloader.dataset.{option}' for option in given)
        return Fault(
            f'{root} is KITTI {name}, not the raw recordings: its pairs train as two folders, without ground truth',
            (f'bireal train bireal_r18_own_pairs --cfg-options {options}',),
        )
    return None


def _as_raw(calibration: dict[str, np.ndarray], *, grey: bool) -> dict[str, np.ndarray]:
    """A calibration by the keys of the raw recordings, which call ``P2`` of other data sets ``P_rect_02``.

    With ``grey`` the cameras 0 and 1 take the places of 2 and 3.
    """
    own = {camera: f'P{camera - 2 if grey else camera}' for camera in (2, 3)}
    renamed = {f'P_rect_0{camera}': calibration[key] for camera, key in own.items() if key in calibration}
    return {'S_rect_02': SIZE, **renamed, **calibration}


def _doctor(root: Path) -> tuple[str, ...]:
    return (f'bireal depth doctor {shlex.quote(str(root))}',)


def unpack(root: Path, folder: str, option: str) -> tuple[str, ...]:
    """Commands that unpack one drive: ``-n`` adds what is missing, ``-o`` overwrites."""
    drive = folder.removesuffix('_sync')
    return _fetch(root, f'{folder}.zip', f'{drive}/{folder}.zip', option)


def _fetch(root: Path, name: str, address: str, option: str) -> tuple[str, ...]:
    """Download an archive unless it is in the root or one of its dates, then unpack it."""
    place = shlex.quote(str(root))
    if name[:10] not in DATES:
        return ()  # there is no such archive
    archive = next((path for path in (root / name, root / name[:10] / name) if path.is_file()), None)
    if archive is not None:
        return (f'unzip {option} {shlex.quote(str(archive))} -d {place}',)
    return (f'wget -c -P {place} {ARCHIVES}/{address}', f'unzip {option} {shlex.quote(str(root / name))} -d {place}')


def _some(names: Sequence[str], what: str) -> str:
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return f'{len(names)} {what}: {"; ".join(names[:NAMED])}{more}'
