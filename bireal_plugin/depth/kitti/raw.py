"""Paths of the files in KITTI's raw recordings, and the reading of their images.

* Images: ``<root>/<date>/<date>_drive_<nnnn>_sync/image_0{2,3}/data/%010d.{png,jpg}``, 2 left and 3 right, in colour.
* Laser scans: ``velodyne_points/data/%010d.bin`` in the drive's folder.
* Calibration: ``<root>/<date>/calib_cam_to_cam.txt`` and ``calib_velo_to_cam.txt``.
* Annotated depth, as in the depth benchmark: ``<drive>_sync/proj_depth/groundtruth/image_0{2,3}/%010d.png``, below the
  date, below the root or its ``train`` and ``val``, or in a folder of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.depth.kitti.calibration import read_calibration
from bireal_plugin.errors import InputError

Side = Literal['left', 'right']
FOLDERS: dict[Side, str] = {'left': 'image_02', 'right': 'image_03'}
CAMERAS: dict[Side, int] = {'left': 2, 'right': 3}
SUFFIXES = ('.png', '.jpg', '.jpeg', '.PNG', '.JPG', '.JPEG')
INDEX = re.compile(r'\d{10}')
DRIVE_FOLDER = re.compile(r'(\d{4}_\d{2}_\d{2})_drive_(\d{4})_sync')


@dataclass(frozen=True, order=True)
class Frame:
    """One moment of one drive, such as ``Frame('2011_09_26', '0048', 2)``."""

    date: str
    drive: str
    index: int

    @property
    def folder(self) -> str:
        """Name of the drive's folder, '2011_09_26_drive_0048_sync'."""
        return f'{self.date}_drive_{self.drive}_sync'

    @property
    def file(self) -> str:
        """Name of the frame's files without suffix, '0000000002'."""
        return f'{self.index:010d}'

    def __str__(self) -> str:
        return f'{self.date}/{self.folder} {self.index}'


class RawFolder:
    """A folder of raw recordings, one sub-folder per date.

    Args:
        root: the folder that holds '2011_09_26' and so on.
        annotated: a folder of annotated depth maps apart from the recordings, if there is one.

    Raises:
        InputError: ``root`` or ``annotated`` is no folder.
    """

    def __init__(self, root: str | Path, *, annotated: str | Path | None = None) -> None:
        self.root = Path(root)
        self.annotated_root = None if annotated is None else Path(annotated)
        self._calibrations: dict[Path, dict[str, np.ndarray]] = {}
        for folder in (self.root, self.annotated_root):
            if folder is not None and not folder.is_dir():
                raise InputError(f'there is no folder {folder}: give the one that holds KITTI dates like 2011_09_26')

    def drives(self) -> list[tuple[str, str]]:
        """All drives as (date, drive), such as ('2011_09_26', '0048'), in order."""
        matches = (DRIVE_FOLDER.fullmatch(path.name) for path in self.root.glob('*/*_drive_*_sync') if path.is_dir())
        return sorted((match[1], match[2]) for match in matches if match and (self.root / match[1] / match[0]).is_dir())

    def frames(self, drive: tuple[str, str], side: Side = 'left') -> list[Frame]:
        """Frames of one drive (date, drive) that have an image on ``side``, in order."""
        date, number = drive
        folder = self._images(Frame(date, number, 0), side)
        if not folder.is_dir():
            return []
        indices = {
            int(path.stem) for path in folder.iterdir() if path.suffix in SUFFIXES and INDEX.fullmatch(path.stem)
        }
        return [Frame(date, number, index) for index in sorted(indices)]

    def has_image(self, frame: Frame, side: Side = 'left') -> bool:
        """Whether the image file exists."""
        return self._find_image(frame, side) is not None

    def image(self, frame: Frame, side: Side = 'left') -> Path:
        """Path of the colour image, the PNG where there is a JPEG too.

        Raises:
            InputError: neither exists.
        """
        found = self._find_image(frame, side)
        if found is None:
            raise InputError(
                f'there is no {frame.file}.png or .jpg in {self._images(frame, side)}: '
                f'unpack {frame.folder}.zip into {self.root}'
            )
        return found

    def velodyne(self, frame: Frame) -> Path:
        """Path of the laser scan, which need not exist."""
        return self.root / frame.date / frame.folder / 'velodyne_points' / 'data' / f'{frame.file}.bin'

    def annotated(self, frame: Frame, side: Side = 'left') -> Path | None:
        """Path of the annotated depth map; None where none exists, as for the first and last five frames of a drive."""
        inside = Path(frame.folder) / 'proj_depth' / 'groundtruth' / FOLDERS[side] / f'{frame.file}.png'
        folders = [self.root / frame.date, self.root, self.root / 'train', self.root / 'val']
        if self.annotated_root is not None:
            own = self.annotated_root
            folders = [own, own / 'train', own / 'val', own / frame.date]
        return next((folder / inside for folder in folders if (folder / inside).is_file()), None)

    def calibration(self, date: str, name: str = 'calib_cam_to_cam.txt') -> dict[str, np.ndarray]:
        """Content of a calibration file of one date, read once for thousands of frames.

        Raises:
            InputError: it is missing or broken.
        """
        path = self.root / date / name
        if path not in self._calibrations:
            self._calibrations[path] = read_calibration(path)
        return self._calibrations[path]

    def velodyne_calibration(self, date: str) -> dict[str, np.ndarray]:
        """As ``calibration``, content of ``calib_velo_to_cam.txt``."""
        return self.calibration(date, 'calib_velo_to_cam.txt')

    def _images(self, frame: Frame, side: Side) -> Path:
        return self.root / frame.date / frame.folder / FOLDERS[side] / 'data'

    def _find_image(self, frame: Frame, side: Side) -> Path | None:
        folder = self._images(frame, side)
        candidates = (folder / f'{frame.file}{suffix}' for suffix in SUFFIXES)
        return next((path for path in candidates if path.is_file()), None)


def read_recorded(path: Path) -> np.ndarray:
    """Pixels of a recorded image as stored, ``(H, W, 3)`` uint8 RGB: the calibration belongs to them.

    Raises:
        InputError: the image is missing, truncated, foreign, or has 16 bits as a depth map has.
    """
    return np.asarray(read_rgb(path, exif=False, wide=False))
