"""True depth of KITTI's raw frames: from the laser scan, in two readings, or from the annotated depth maps.

The three are not comparable: annotated maps are denser and cleaned of occlusions, and 'velodyne' is off by the distance
between scanner and camera. Every table names the one that it used.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from bireal_plugin.depth.kitti.calibration import entry, velodyne_to_image
from bireal_plugin.depth.kitti.lidar import LidarDepth, project, read_velodyne
from bireal_plugin.depth.kitti.raw import CAMERAS, Frame, RawFolder, Side
from bireal_plugin.depth.maps import read_depth_png
from bireal_plugin.errors import InputError

Truth = Literal['lidar', 'velodyne', 'annotated']
TRUTHS: dict[Truth, str] = {
    'lidar': 'raw lidar, camera z',
    'velodyne': 'raw lidar, velodyne x',
    'annotated': 'annotated depth maps',
}


def has_truth(raw: RawFolder, frame: Frame, truth: Truth) -> bool:
    """Whether the file that holds the true depth of the left image is there."""
    return raw.annotated(frame) is not None if truth == 'annotated' else raw.velodyne(frame).is_file()


def true_depth(raw: RawFolder, frame: Frame, truth: Truth = 'lidar', *, side: Side = 'left') -> np.ndarray:
    """True depth (H, W) float32 in m of one image, 0 where there is none, at the image's own size.

    'lidar' takes the distance along the camera's axis, 'velodyne' the scanner's forward coordinate, as evaluations in
    the tradition of Eigen et al. do.

    Raises:
        InputError: the truth, or what a scan needs to be projected, is missing or broken.
    """
    if truth not in TRUTHS:
        raise InputError(f'unknown ground truth {truth!r}; there are: {", ".join(TRUTHS)}')
    if truth == 'annotated':
        path = raw.annotated(frame, side)
        if path is None:
            raise InputError(f'there is no annotated depth map of {frame} ({side}) in or beside {raw.root}')
        return read_depth_png(path)
    reading: LidarDepth = 'camera' if truth == 'lidar' else 'velodyne'
    projection = velodyne_to_image(
        raw.calibration(frame.date), raw.velodyne_calibration(frame.date), camera=CAMERAS[side]
    )
    path = raw.image(frame, side)
    with Image.open(path) as image:
        width, height = image.size
    key = f'S_rect_0{CAMERAS[side]}'
    expected = entry(raw.calibration(frame.date), key, 'calib_cam_to_cam.txt')
    if (width, height) != tuple(expected):
        raise InputError(
            f'{path} is {width} x {height}, but the calibration, and with it the laser scan, is for images of '
            f'{expected[0]:g} x {expected[1]:g}; use the images as they were recorded'
        )
    return project(read_velodyne(raw.velodyne(frame)), projection, (height, width), depth=reading)
