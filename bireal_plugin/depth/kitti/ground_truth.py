"""True depth of KITTI's raw frames: from the laser scan, in two readings, or from the annotated depth maps.

The three are not comparable: annotated maps are denser and cleaned of occlusions, and 'velodyne' is off by the distance
between scanner and camera. Every table names the one that it used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from bireal_plugin.data.image_file import image_size
from bireal_plugin.depth.kitti.calibration import entry, velodyne_to_image
from bireal_plugin.depth.kitti.lidar import project, read_velodyne
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
        if depth.shape != (height, width):
            raise InputError(
                f'{annotated} is {depth.shape[1]} x {depth.shape[0]}, but its image {path} is {width} x {height}; '
                'use the raw benchmark maps, not a cropped selection'
            )
        return depth
    recorded = entry(raw.calibration(frame.date), f'S_rect_0{CAMERAS[side]}', 'calib_cam_to_cam.txt')
    if (width, height) != tuple(recorded):
        raise InputError(
            f'{path} is {width} x {height}, but the calibration, and with it the laser scan, is for images of '
            f'{recorded[0]:g} x {recorded[1]:g}; use the images as they were recorded'
        )
    scan = read_velodyne(raw.velodyne(frame))
    reading: Literal['camera', 'velodyne'] = 'camera' if truth == 'lidar' else 'velodyne'
    return project(scan, _projection(raw, frame.date, side), (height, width), depth=reading)


def _check(truth: str) -> None:
    if truth not in TRUTHS:
        raise InputError(f'unknown ground truth {truth!r}; there are: {", ".join(TRUTHS)}')


def _projection(raw: RawFolder, date: str, side: Side) -> np.ndarray:
    return velodyne_to_image(raw.calibration(date), raw.velodyne_calibration(date), camera=CAMERAS[side])
