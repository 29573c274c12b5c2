"""Scale of depth: metres where a calibration or flags give the camera, relative depth elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.kitti.calibration import read_calibration, stereo_camera
from bireal_plugin.errors import InputError

CALIBRATION = 'calib_cam_to_cam.txt'
RAW_LEVELS = 4  # <date>/<drive>/image_02/data/<image>
RAW_DRIVE = re.compile(r'\d{4}_\d\d_\d\d_drive_\d{4}_(sync|extract)')
ADVICE = 'put it there, give --calibration FILE, or --focal PX and --baseline METRES, or --relative'


@dataclass(frozen=True)
class CameraChoice:
    """Camera options of a command.

    Attributes:
        calibration: a KITTI ``calib_cam_to_cam.txt``, for every image.
        focal: in px of the image's own width. It is for images of a camera of one's own.
        baseline: in m, of the stereo rig that the *network* was trained on; replaces the calibration's.
        relative: ask for relative depth, whatever calibration there is.
    """

    calibration: Path | None = None
    focal: float | None = None
    baseline: float | None = None
    relative: bool = False

    def __post_init__(self) -> None:
        for flag, value in (('--focal', self.focal), ('--baseline', self.baseline)):
            if value is not None and not 0 < value < float('inf'):
                raise InputError(f'{flag} must be positive, not {value:g}')
        if self.focal is not None and self.baseline is None:
            raise InputError('--focal needs --baseline, that of the stereo pairs in training (0.5327 m for KITTI)')
        if self.focal is not None and self.calibration is not None:
            raise InputError('--calibration and --focal both give the focal length; leave one of them out')
        if self.relative and (self.focal or self.baseline or self.calibration):
            raise InputError('--relative asks for no camera; leave --calibration, --focal and --baseline out')

    def camera(self, path: Path, width: int) -> Camera | None:
        """Camera of the image or video ``path`` of ``width`` px; None where none is known.

        Raises:
            InputError: a calibration that cannot be read, or that is missing from a folder laid out as KITTI's.
        """
        if self.relative:
            return None
        if self.focal is not None:
            assert self.baseline is not None
            return Camera(self.focal, width, self.baseline, cx=None, cy=None, source='--focal and --baseline')
        file = self.calibration or calibration_beside(path)
        if file is None:
            if self.baseline is not None:
                raise InputError(f'{path}: --baseline alone gives no scale; add --focal PX or --calibration FILE')
            return None
        camera = _stereo_camera(file)
        if self.baseline is not None:
            camera = replace(camera, baseline=self.baseline, source=f'{camera.source} with --baseline')
        return camera


def calibration_beside(path: Path) -> Path | None:
    """Calibration file of an image in KITTI's raw layout; None for an image elsewhere.

    Raises:
        InputError: the layout is KITTI's, and the calibration is not in the folder of the date.
    """
    folders = path.absolute().parents
    for folder in list(folders)[:RAW_LEVELS]:
        if (folder / CALIBRATION).is_file():
            return folder / CALIBRATION
    for folder in folders:
        if RAW_DRIVE.fullmatch(folder.name):
            raise InputError(f'{path}: its calibration {folder.parent / CALIBRATION} is missing; {ADVICE}')
    return None


def depth_of(disparity: np.ndarray, camera: Camera | None) -> np.ndarray:
    """Depth ``(H, W)`` of a disparity in px of its own width: in m, or without a camera relative.

    Relative depth is width / disparity, so that it compares between images of any size: it is the depth in units of
    baseline x focal length / width. Depth is infinite where the disparity is not positive.
    """
    width = disparity.shape[1]
    if camera is None:
        camera = Camera(focal=width, width=width, baseline=1, source='relative')
    return camera.depth(disparity, width=width)


def sentence(camera: Camera | None, width: int) -> str:
    """Sentence on the scale of an image and its origin."""
    if camera is None:
        return (
            'relative depth: the camera is unknown; for metres give --focal PX and --baseline METRES, or --calibration'
        )
    return (
        f'metric depth: {camera.source} (focal length {camera.focal_at(width):.1f} px at width {width}, '
        f'baseline {camera.baseline:.4f} m)'
    )


@lru_cache(maxsize=64)
def _stereo_camera(file: Path) -> Camera:
    return stereo_camera(read_calibration(file), source=f'calibration {file}')
