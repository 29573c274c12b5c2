"""A rendered stereo street with exact depth: the embedded data of the depth app, which needs no download.

Two pinhole cameras look down a street of textured ground, buildings, cars, poles and trees. Everything follows from
one seed. The rig has KITTI's proportions: focal length 0.58 x image width, baseline 0.54 m, 1.65 m above the road.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.street.layout import Street, lay_out
from bireal_plugin.depth.street.paint import paint
from bireal_plugin.depth.street.trace import cast_rays, trace
from bireal_plugin.errors import InputError

FOCAL_PER_WIDTH = 0.58
HORIZON = 0.46
"""The principal point's height in the image, 0 = upper edge, 1 = lower edge."""

NOISE = 1.5
"""Standard deviation of the sensor's noise in grey levels."""


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
    seed: int, size: tuple[int, int] = (96, 320), *, baseline: float = 0.54, focal: float | None = None
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
    camera = Camera(
        focal=focal,
        width=width,
        baseline=baseline,
        cx=(width - 1) / 2,
        cy=HORIZON * height - 0.5,
        source=f'rendered street {seed}',
    )
    sensor = np.random.default_rng((seed, 1))
    gain = sensor.uniform(0.96, 1.04)
    left, depth_left = _view(street, camera, size, offset=0.0)
    right, depth_right = _view(street, camera, size, offset=baseline)
    return Scene(
        left=_expose(left, sensor, gain=1.0),
        right=_expose(right, sensor, gain=gain),
        depth_left=depth_left,
        depth_right=depth_right,
        disparity_left=disparity(depth_left, focal=focal, baseline=baseline),
        camera=camera,
        street=street,
    )


def disparity(depth: np.ndarray, *, focal: float, baseline: float) -> np.ndarray:
    """``focal`` x ``baseline`` / ``depth`` in pixels, float32, and 0 where the depth is 0 (sky)."""
    seen = depth > 0
    return np.where(seen, focal * baseline / np.where(seen, depth, 1), 0).astype(np.float32)


def _view(street: Street, camera: Camera, size: tuple[int, int], *, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) float32 in 0..1 and depth (H, W) float32 of the camera ``offset`` m right of the left one."""
    assert camera.cx is not None
    assert camera.cy is not None
    rays = cast_rays(
        size,
        focal=camera.focal,
        centre=(camera.cx, camera.cy),
        origin=street.position + offset * street.rotation[:, 0],
        rotation=street.rotation,
    )
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
