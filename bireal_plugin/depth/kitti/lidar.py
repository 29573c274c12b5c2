"""Laser scans, and their projection into an image as sparse depth."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from bireal_plugin.errors import InputError

BYTES_PER_POINT = 16
LidarDepth = Literal['camera', 'velodyne']


def read_velodyne(path: str | Path) -> np.ndarray:
    """Read a scan, ``(N, 4)`` float32: forward, left, up in m, and the reflectance.

    Raises:
        InputError: a missing or empty file, one that is no whole number of points, or one with values not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'the laser scan {path} is missing: unpack the velodyne_points of that drive')
    size = path.stat().st_size
    if size == 0 or size % BYTES_PER_POINT:
        raise InputError(
            f'{path} has {size} bytes, not a whole number of points of {BYTES_PER_POINT} bytes: '
            'it is truncated, so unpack it again'
        )
    points = np.fromfile(path, dtype='<f4').astype(np.float32, copy=False).reshape(-1, 4)
    if not np.isfinite(points).all():
        raise InputError(f'{path} holds values that are not finite, so it is no laser scan: unpack it again')
    return points


def project(
    points: np.ndarray,
    projection: np.ndarray,
    size: tuple[int, int],
    *,
    depth: LidarDepth = 'camera',
) -> np.ndarray:
    """Sparse depth ``(H, W)`` float32 in m of an image of ``size`` (H, W), 0 where no point falls.

    Points behind the scanner's or the camera's plane are dropped. KITTI counts pixels from 1, as MATLAB does: the pixel
    is the rounded coordinate minus 1, as in KITTI's development kit and all published evaluations. Of several points on
    one pixel the nearest wins.

    Args:
        points: ``(N, 3)`` or ``(N, 4)`` scanner coordinates in m (forward, left, up); a fourth column is ignored.
        projection: ``(3, 4)`` of ``velodyne_to_image``.
        size: height and width in px.
        depth: 'camera' is the distance along the camera's axis. 'velodyne' is the scanner's forward coordinate, which
            evaluations in the tradition of Eigen et al. use by mistake: about 0.27 m more.

    Raises:
        InputError: an unknown ``depth``.
    """
    if depth not in ('camera', 'velodyne'):
        raise InputError(f"lidar depth is 'camera' or 'velodyne', not {depth!r}")
    height, width = size
    positions = points[points[:, 0] >= 0, :3].astype(np.float64)
    image = positions @ projection[:, :3].T + projection[:, 3]
    in_front = image[:, 2] > 0
    positions, image = positions[in_front], image[in_front]
    column, row = (np.rint(image[:, axis] / image[:, 2]) - 1 for axis in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    metres = (image[:, 2] if depth == 'camera' else positions[:, 0])[inside]
    pixel = row[inside].astype(np.int64) * width + column[inside].astype(np.int64)
    nearest = np.full(height * width, np.inf)
    np.minimum.at(nearest, pixel, metres)
    return np.where(np.isfinite(nearest), nearest, 0).astype(np.float32).reshape(height, width)
