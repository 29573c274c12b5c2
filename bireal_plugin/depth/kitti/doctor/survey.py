"""Contents of a download of KITTI's raw recordings, drive by drive, with the files that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from bireal_plugin.data.image_file import image_size
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.doctor.pair_order import right_order
from bireal_plugin.depth.kitti.lidar import BYTES_PER_POINT, read_velodyne
from bireal_plugin.depth.kitti.raw import CAMERAS, Frame, RawFolder, read_recorded
from bireal_plugin.depth.maps import read_depth_png
from bireal_plugin.errors import InputError
from bireal_plugin.text_table import text_table

Content = TypeVar('Content')
COUNTS = ('left', 'right', 'pairs', 'lidar', 'annotated')
PAIRS_PER_DRIVE = 3
"""Pairs looked at for the order of left and right."""


@dataclass
class DriveSurvey:
    """Counts of one drive's files, and the faults of some.

    ``sizes`` counts the (H, W) of its whole images, ``order`` is the median of ``right_order`` over a few pairs, None
    if no pair has near objects.
    """

    date: str
    drive: str
    left: int = 0
    right: int = 0
    pairs: int = 0
    lidar: int = 0
    annotated: int = 0
    bytes: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    order: float | None = None

    @property
    def folder(self) -> str:
        """Name of the drive's folder."""
        return Frame(self.date, self.drive, 0).folder


def survey_drive(raw: RawFolder, date: str, drive: str, *, deep: bool = False) -> DriveSurvey:
    """Look at every file of a drive: headers and ends by default, the whole content if ``deep``."""
    found = DriveSurvey(date, drive)
    left, right = raw.frames((date, drive), 'left'), raw.frames((date, drive), 'right')
    both = set(left) & set(right)
    found.left, found.right, found.pairs = len(left), len(right), len(both)
    usable = []
    for frame in sorted({*left, *right}):
        sizes = [size for path in _images(raw, frame) if (size := _image(path, found, deep=deep)) is not None]
        found.sizes.update(sizes)
        if len(set(sizes)) > 1:
            found.unequal.append(str(raw.image(frame)))
        elif len(sizes) == len(CAMERAS):
            usable.append(frame)
        if (scan := raw.velodyne(frame)).is_file():
            found.lidar += 1
            _whole(scan, found, read_velodyne if deep else _scan_size)
        if (depth := raw.annotated(frame)) is not None:
            found.annotated += 1
            _whole(depth, found, read_depth_png if deep else image_size)
    found.order = _order(raw, usable)
    return found


def drive_table(raw: RawFolder, drives: Sequence[DriveSurvey]) -> str:
    """A row per drive with counts of files, MB, sizes and calibration, and a row of sums."""
    rows = [
        {
            'drive': found.folder,
            **{name: getattr(found, name) for name in COUNTS},
            'MB': f'{found.bytes / 1e6:.1f}',
            'size': ', '.join(f'{width} x {height}' for height, width in sorted(found.sizes)) or 'no image',
            'calibration': _calibration(raw, found.date),
        }
        for found in drives
    ]
    sums: dict[str, int] = {name: sum(getattr(found, name) for found in drives) for name in COUNTS}
    megabytes = sum(found.bytes for found in drives) / 1e6
    rows.append({'drive': f'{len(drives)} drives', **sums, 'MB': f'{megabytes:.1f}'})
    return text_table(rows, left=('drive', 'size', 'calibration'))


def _calibration(raw: RawFolder, date: str) -> str:
    """Focal length and baseline of a date; a missing calibration is a fault of its own."""
    try:
        camera = stereo_camera(raw.calibration(date), source=date)
    except InputError:
        return 'none'
    return f'f {camera.focal:.2f} px, b {camera.baseline:.4f} m'


def _images(raw: RawFolder, frame: Frame) -> Iterator[Path]:
    return (raw.image(frame, side) for side in CAMERAS if raw.has_image(frame, side))


def _image(path: Path, found: DriveSurvey, *, deep: bool) -> tuple[int, int] | None:
    """Size (H, W) of an image; None, with a note in ``found``, if the file is not whole."""
    size = _whole(path, found, image_size)
    if size is not None and deep and _whole(path, found, read_recorded, count=False) is None:
        return None
    return size


def _whole(path: Path, found: DriveSurvey, read: Callable[[Path], Content], *, count: bool = True) -> Content | None:
    """Result of ``read``; None, with a note in ``found``, if it cannot read the file."""
    if count:
        found.bytes += path.stat().st_size
    try:
        return read(path)
    except InputError as error:
        found.unreadable.append(str(error))
        return None


def _scan_size(path: Path) -> int:
    """Number of points, from the file's size."""
    size = path.stat().st_size
    if not size or size % BYTES_PER_POINT:
        raise InputError(f'{path} has {size} bytes, not a whole number of points: it is truncated')
    return size // BYTES_PER_POINT


def _order(raw: RawFolder, frames: list[Frame]) -> float | None:
    """Median of ``right_order`` over a few frames spread over the drive."""
    chosen = sorted(set(np.linspace(0, len(frames) - 1, PAIRS_PER_DRIVE).astype(int))) if frames else []
    shares = []
    for index in chosen:
        try:
            pair = [read_recorded(raw.image(frames[index], side)) for side in CAMERAS]
        except InputError:
            continue  # headers were whole, the content is not: told by --deep
        if (share := right_order(*pair)) is not None:
            shares.append(share)
    return float(np.median(shares)) if shares else None
