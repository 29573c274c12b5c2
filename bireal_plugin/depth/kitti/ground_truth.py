"""True depth of KITTI's raw frames: from the laser scan, in two readings, or from the annotated depth maps.

The three are not comparable: annotated maps are denser and cleaned of occlusions, and 'velodyne' is off by the distance
between scanner and camera. Every table names the one that it used.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from bireal_plugin.data.image_file import image_size
from bireal_plugin.depth.camera import uniform
from bireal_plugin.depth.kitti.calibration import entry, velodyne_to_image
from bireal_plugin.depth.kitti.raw import CAMERAS, Frame, RawFolder, Side
from bireal_plugin.depth.maps import read_depth_png
from bireal_plugin.errors import InputError

Truth = Literal['lidar', 'velodyne', 'annotated']
TRUTHS: dict[Truth, str] = {
    'lidar': 'raw lidar, camera z',
    'velodyne': 'raw lidar, velodyne x',
    'annotated': 'annotated depth maps',
}


def frames_with_truth(raw: RawFolder, frames: Iterable[Frame], truth: Truth) -> tuple[Frame, ...]:
    """Those frames whose true depth is on disk: some scans are missing, the ends of drives are not annotated.

    Raises:
        InputError: an unknown truth, no frame with it, or no calibration for the laser scans of a date.
    """
    _check(truth)
    given = tuple(frames)
    if truth == 'annotated':
        found = tuple(frame for frame in given if raw.annotated(frame) is not None)
    else:
        found = tuple(frame for frame in given if raw.velodyne(frame).is_file())
        for date in sorted({frame.date for frame in found}):
            _projection(raw, date, 'left')  # missing calibration is reported now, not hours into training
    if not found:
        file = 'proj_depth/groundtruth/image_02/*.png' if truth == 'annotated' else 'velodyne_points/data/*.bin'
        first = f', first {given[0]}' if given else ''
        raise InputError(
            f'none of the {len(given)} frames in {raw.root}{first} has {truth} ground truth: looked for <drive>/{file}'
        )
    return found


def true_depth(raw: RawFolder, frame: Frame, truth: Truth = 'lidar', *, side: Side = 'left') -> np.ndarray:
    """True depth (H, W) float32 in m of one image, 0 where there is none, at the image's own size.

    An annotated map keeps its own size where the images were scaled down and it was not, as in selections of KITTI that
    are small to download.

    'lidar' takes the distance along the camera's axis, 'velodyne' the scanner's forward coordinate, as evaluations in
    the tradition of Eigen et al. do.

    Raises:
        InputError: the truth, the image, or the calibration by which a scan is projected is missing, broken or of
            another size.
    """
    _check(truth)
    path = raw.image(frame, side)
    height, width = image_size(path)
    if truth == 'annotated':
        annotated = raw.annotated(frame, side)
        if annotated is None:
            raise InputError(f'there is no annotated depth map of {frame} ({side}) in or beside {raw.root}')
        depth = read_depth_png(annotated)
        if not uniform(depth.shape, (height, width)):
            raise InputError(
                f'{annotated} is {depth.shape[1]} x {depth.shape[0]}, but its image {path} is {width} x {height}, of '
                'another shape; use the raw benchmark maps, not a cropped selection'
            )
        return depth
    recorded = entry(raw.calibration(frame.date), f'S_rect_0{CAMERAS[side]}', 'calib_cam_to_cam.txt')
    if (width, height) != tuple(recorded):
        raise InputError(
            f'{path} is {width} x {height}, but the calibration, and with it the laser scan, is for images of '
            f'{recorded[0]:g} x {recorded[1]:g}; use the images as they were recorded'
        )
    scan = read_velodyne(raw.velodyne(frame))
    reading: LidarDepth = 'camera' if truth == 'lidar' else 'velodyne'
    return project(scan, _projection(raw, frame.date, side), (height, width), depth=reading)


def _check(truth: str) -> None:
    if truth not in TRUTHS:
        raise InputError(f'unknown ground truth {truth!r}; there are: {", ".join(TRUTHS)}')


def _projection(raw: RawFolder, date: str, side: Side) -> np.ndarray:
    return velodyne_to_image(raw.calibration(date), raw.velodyne_calibration(date), camera=CAMERAS[side])


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
    check_scan_size(path)
    points = np.fromfile(path, dtype='<f4').astype(np.float32, copy=False).reshape(-1, 4)
    if not np.isfinite(points).all():
        raise InputError(f'{path} holds values that are not finite, so it is no laser scan: unpack it again')
    return points


def check_scan_size(path: Path) -> None:
    """Refuse a scan whose size in bytes says that it is truncated.

    Raises:
        InputError: the file is empty or no whole number of points.
    """
    size = path.stat().st_size
    if size == 0 or size % BYTES_PER_POINT:
        raise InputError(
            f'{path} has {size} bytes, not a whole number of points of {BYTES_PER_POINT} bytes: '
            'it is truncated, so unpack it again'
        )


def project(
    points: np.ndarray, projection: np.ndarray, size: tuple[int, int], *, depth: LidarDepth = 'camera'
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
