"""A rendered stereo street with exact depth: the embedded data of the depth app, which needs no download.

Two pinhole cameras look down a street of textured ground, buildings, cars, poles and trees. Everything follows from
one seed. The rig has KITTI's proportions: focal length 0.58 x image width, baseline 0.54 m, 1.65 m above the road.
``write_recording`` writes such scenes in the layout of KITTI raw, so that every command for recordings takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.depth.street.layout import Street, lay_out
from bireal_plugin.depth.street.paint import paint
from bireal_plugin.depth.street.trace import cast_rays, trace
from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole, write_whole

FOCAL_PER_WIDTH = 0.58
BASELINE = 0.54  # m
HORIZON = 0.46  # the principal point's height in the image, 0 = upper edge, 1 = lower edge
NOISE = 1.5  # standard deviation of the sensor's noise in grey levels


@dataclass(frozen=True)
class Scene:
    """A stereo pair and its truth.

    Images are RGB uint8 (H, W, 3); depth is the camera's z in metres, float32 (H, W), 0 = sky; the disparity is in
    pixels of the image's width, float32 (H, W), 0 = sky: ``x_right = x_left - disparity``.
    """

    left: np.ndarray
    right: np.ndarray
    depth_left: np.ndarray
    depth_right: np.ndarray
    disparity_left: np.ndarray
    camera: Camera
    street: Street


def render_street(
    seed: int, size: tuple[int, int] = (96, 320), *, baseline: float = BASELINE, focal: float | None = None
) -> Scene:
    """Street number ``seed`` (>= 0) as a pair of (H, W) images.

    The layout depends on the seed alone, so two sizes show the same street. ``focal`` is in pixels (default: 0.58 x W),
    ``baseline`` in metres.

    Raises:
        InputError: if the size, the baseline or the focal length is not positive, or the seed negative.
    """
    height, width = size
    focal = FOCAL_PER_WIDTH * width if focal is None else focal
    if min(height, width) < 1 or not baseline > 0 or not focal > 0:
        raise InputError(
            f'a street needs positive numbers, not size={tuple(size)}, baseline={baseline} m, focal={focal} px'
        )
    if seed < 0:
        raise InputError(f'a street is numbered from 0, not seed={seed}')
    street = lay_out(np.random.default_rng((seed, 0)))
    centre = ((width - 1) / 2, HORIZON * height - 0.5)
    camera = Camera(focal, width, baseline, *centre, source=f'rendered street {seed}', height=height)
    sensor = np.random.default_rng((seed, 1))
    gain = sensor.uniform(0.96, 1.04)
    (left, depth_left), (right, depth_right) = (_view(street, camera, size, offset=x) for x in (0.0, baseline))
    seen = depth_left > 0
    return Scene(
        left=_expose(left, sensor, gain=1.0),
        right=_expose(right, sensor, gain=gain),
        depth_left=depth_left,
        depth_right=depth_right,
        disparity_left=np.where(seen, focal * baseline / np.where(seen, depth_left, 1), 0).astype(np.float32),
        camera=camera,
        street=street,
    )


def _view(street: Street, camera: Camera, size: tuple[int, int], *, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) float32 in 0..1 and depth (H, W) float32 of the camera ``offset`` m right of the left one."""
    assert camera.cx is not None
    assert camera.cy is not None
    origin, rotation = street.position + offset * street.rotation[:, 0], street.rotation
    rays = cast_rays(size, focal=camera.focal, centre=(camera.cx, camera.cy), origin=origin, rotation=rotation)
    hits = trace(rays, street.solids, street.sun)
    # A pixel is a tent over three by three rays, which keeps edges smooth; its depth is that of the ray in the middle.
    tent = np.array([0.25, 0.5, 0.25], np.float32)
    picture = cv2.sepFilter2D(paint(street, rays, hits), -1, tent, tent)[1::2, 1::2]
    depth = hits.depth[1::2, 1::2]
    return picture, np.where(np.isfinite(depth), depth, np.float32(0))


def _expose(picture: np.ndarray, sensor: np.random.Generator, *, gain: float) -> np.ndarray:
    """Sensor model: the picture scaled by ``gain``, with noise, rounded to uint8."""
    noise = sensor.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture * (255 * gain) + NOISE * noise + 0.5, 0, 255).astype(np.uint8)


DATE, DRIVE = '2000_01_01', '0001'


def write_recording(root: str | Path, scenes: Sequence[Scene]) -> Path:
    """Write stereo pairs (PNG), calibration and annotated depth below ``root``; return the drive's folder.

    Raises:
        InputError: the recording is there already, the folder cannot be written, or the cameras differ.
    """
    date = Path(root, DATE)
    drive = date / f'{DATE}_drive_{DRIVE}_sync'
    if date.exists():
        raise InputError(f'{date} exists; give another folder, or remove it first')
    if len({(scene.camera.focal, scene.camera.baseline, scene.left.shape) for scene in scenes}) != 1:
        raise InputError('a recording has one camera and at least one pair; these scenes differ in size or camera')
    folders = {
        'left': drive / 'image_02' / 'data',
        'right': drive / 'image_03' / 'data',
        'depth': drive / 'proj_depth' / 'groundtruth' / 'image_02',
    }
    try:
        for folder in folders.values():
            folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f'{date} cannot be made: {error.strerror}') from error
    for i, scene in enumerate(scenes):
        for side, image in (('left', scene.left), ('right', scene.right)):
            with whole(folders[side] / f'{i:010d}.png') as partial:
                Image.fromarray(image).save(partial, compress_level=1)
        write_depth_png(folders['depth'] / f'{i:010d}.png', scene.depth_left)
    camera, (height, width, _) = scenes[0].camera, scenes[0].left.shape
    lines = ['calib_time: rendered']
    for index, offset in ((2, 0.0), (3, camera.baseline)):
        projection = [camera.focal, 0, camera.cx, -camera.focal * offset, 0, camera.focal, camera.cy, 0, 0, 0, 1, 0]
        lines.append(f'S_rect_0{index}: {width:e} {height:e}')
        lines.append(f'P_rect_0{index}: ' + ' '.join(f'{float(value or 0):.9e}' for value in projection))
    write_whole(date / 'calib_cam_to_cam.txt', '\n'.join(lines) + '\n')
    return drive
