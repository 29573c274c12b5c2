"""KITTI's calibration files: the stereo camera, and the projection of the laser scanner into an image.

A raw recording date has ``calib_cam_to_cam.txt`` and ``calib_velo_to_cam.txt``: lines ``key: numbers``. Cameras 2 and 3
are the left and the right colour camera. After rectification a point ``x`` in the coordinates of camera 0 (right, down,
forward, in m) has the pixel ``P_rect_0i (x, 1)``.
"""

from __future__ import annotations

import codecs
from contextlib import suppress
from pathlib import Path

import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.errors import InputError

# Count of numbers in each kind of entry; the kind is the key without its camera number.
SIZES = {'P_rect': 12, 'R_rect': 9, 'S_rect': 2, 'S': 2, 'K': 9, 'D': 5, 'R': 9, 'T': 3}
LEFT, RIGHT = 2, 3
DATES = ('2011_09_26', '2011_09_28', '2011_09_29', '2011_09_30', '2011_10_03')  # of KITTI, which have archives


def read_calibration(path: str | Path) -> dict[str, np.ndarray]:
    """Read the numeric entries of one file, each a flat float64 array.

    Dates and comments (``calib_time``) are left out, but an entry of a known kind must be whole.

    Raises:
        InputError: a missing or foreign file, a line cut off, or an entry with too few, too many or unreadable numbers.
    """
    path = Path(path)
    if not path.is_file():
        date = path.parent.name
        advice = f'unpack the calibration archive of that date, {date}_calib.zip'
        if date not in DATES:
            advice = 'write S_rect_02, P_rect_02 and P_rect_03 of your rig into it, as in the files of KITTI'
        raise InputError(f'{path} is missing: {advice}')
    lines = text_lines(path, otherwise='so it is no KITTI calibration: unpack it again')
    calibration: dict[str, np.ndarray] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        key, colon, text = line.partition(':')
        key = key.strip()
        if not colon:
            raise InputError(f'{path} line {number}, {line.strip()[:40]!r}, has no "key: numbers": unpack it again')
        values: np.ndarray | None = None
        with suppress(ValueError):
            numbers = np.array(text.split(), dtype=np.float64)
            values = numbers if np.isfinite(numbers).all() else None
        kind, _, camera = key.rpartition('_')
        expected = SIZES.get(kind if kind and camera.isdigit() else key)
        if expected is not None and (values is None or values.size != expected):
            found = 'text' if values is None else f'{values.size}'
            raise InputError(f'{path} holds {found} instead of {expected} numbers for {key}: unpack it again')
        if values is not None and values.size:
            calibration[key] = values
    if not calibration:
        raise InputError(f'{path} holds no numbers at all, so it is no KITTI calibration: unpack it again')
    return calibration


def text_lines(path: Path, *, otherwise: str) -> list[str]:
    """Lines of a text file in UTF-8, or in UTF-16 as Windows writes it; ``otherwise`` ends the sentence on any other.

    Raises:
        InputError: it is no text.
    """
    content = path.read_bytes()
    encoding = 'utf-16' if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else 'utf-8-sig'
    with suppress(UnicodeDecodeError):
        if '\0' not in (text := content.decode(encoding)):
            return text.splitlines()
    raise InputError(f'{path} is no text in UTF-8 or UTF-16, {otherwise}')


def stereo_camera(calibration: dict[str, np.ndarray], *, source: str) -> Camera:
    """Left colour camera with its distance to the right one, b = -(P3[0, 3] - P2[0, 3]) / f.

    Args:
        calibration: ``calib_cam_to_cam.txt`` as read.
        source: named in errors and in the camera, such as 'calibration 2011_09_26'.

    Raises:
        InputError: an entry is missing, or the right camera is not to the right of the left one.
    """
    left, right = (entry(calibration, f'P_rect_0{camera}', source).reshape(3, 4) for camera in (LEFT, RIGHT))
    width, height = (round(float(side)) for side in entry(calibration, f'S_rect_0{LEFT}', source))
    focal = float(left[0, 0])
    if not focal > 0:
        raise InputError(f'{source}: P_rect_0{LEFT} has the focal length {focal:g} px, which must be positive')
    baseline = float(left[0, 3] - right[0, 3]) / focal
    if not baseline > 0:
        raise InputError(
            f'{source}: P_rect_0{LEFT} and P_rect_0{RIGHT} give a baseline of {baseline:.4f} m, so camera {RIGHT} '
            f'would be left of camera {LEFT}: the two entries are swapped or wrong'
        )
    return Camera(focal, width, baseline, cx=float(left[0, 2]), cy=float(left[1, 2]), source=source, height=height)


def velodyne_to_camera(cam_to_cam: dict[str, np.ndarray], velo_to_cam: dict[str, np.ndarray]) -> np.ndarray:
    """Rigid ``(4, 4)`` matrix from scanner (forward, left, up) to rectified camera 0 (right, down, forward), both in m.

    Raises:
        InputError: R_rect_00, R or T is missing.
    """
    rigid = np.eye(4)
    rigid[:3, :3] = entry(velo_to_cam, 'R', 'calib_velo_to_cam.txt').reshape(3, 3)
    rigid[:3, 3] = entry(velo_to_cam, 'T', 'calib_velo_to_cam.txt')
    rectify = np.eye(4)
    rectify[:3, :3] = entry(cam_to_cam, 'R_rect_00', 'calib_cam_to_cam.txt').reshape(3, 3)
    return rectify @ rigid


def velodyne_to_image(
    cam_to_cam: dict[str, np.ndarray], velo_to_cam: dict[str, np.ndarray], camera: int = LEFT
) -> np.ndarray:
    """Projection ``(3, 4)`` from scanner coordinates in m to homogeneous pixels of a rectified camera.

    The third coordinate of a projected point is its depth in that camera, in m.

    Raises:
        InputError: R_rect_00, the camera's P_rect, R or T is missing.
    """
    projection = entry(cam_to_cam, f'P_rect_0{camera}', 'calib_cam_to_cam.txt').reshape(3, 4)
    return projection @ velodyne_to_camera(cam_to_cam, velo_to_cam)


def entry(calibration: dict[str, np.ndarray], key: str, source: str) -> np.ndarray:
    """One entry of a calibration.

    Raises:
        InputError: it is not there.
    """
    if key not in calibration:
        raise InputError(f'{source} has no entry {key}, which is needed here: use the file of the raw recordings')
    return calibration[key]
