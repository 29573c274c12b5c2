"""Ray casting for the rendered street: first surface and depth of each pixel's ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bireal_plugin.depth.street.layout import Solid

GROUND, SKY = -1, -2  # values of ``Hits.solid`` where no solid was hit
FACE_X, FACE_Y, FACE_Z, ROUND = range(4)  # of the hit surface; they choose the coordinates that texture is laid on
FAR = 150.0  # m; ground further away is taken for the sky's haze


@dataclass
class Rays:
    """Rays of one view.

    ``direction`` (3, h, w) float32 is in world axes and has length 1 along the camera's z, so that a ray's parameter
    is depth. ``origin`` (3,) is in metres; ``focal`` and ``centre`` (cx, cy) are in steps of the rays' own grid.
    """

    origin: np.ndarray
    rotation: np.ndarray
    direction: np.ndarray
    focal: float
    centre: tuple[float, float]


@dataclass
class Hits:
    """Per ray, each (h, w): ``depth`` (camera z in m, inf = sky), number of ``solid``, ``face``, ``light`` in 0..1."""

    depth: np.ndarray
    solid: np.ndarray
    face: np.ndarray
    light: np.ndarray


def cast_rays(
    size: tuple[int, int], *, focal: float, centre: tuple[float, float], origin: np.ndarray, rotation: np.ndarray
) -> Rays:
    """Rays every half pixel of an (H, W) image, from edge to edge: a grid of (2H + 1, 2W + 1).

    Ray (2i + 1, 2j + 1) goes through the centre of pixel (i, j), the others through edges and corners of pixels.
    ``focal`` and ``centre`` (cx, cy) are in pixels; pixel centres are at whole numbers.
    """
    height, width = size
    x = ((np.arange(2 * width + 1) / 2 - 0.5 - centre[0]) / focal).astype(np.float32)[None, :]
    y = ((np.arange(2 * height + 1) / 2 - 0.5 - centre[1]) / focal).astype(np.float32)[:, None]
    turn = rotation.astype(np.float32)
    direction = np.stack([turn[axis, 0] * x + turn[axis, 1] * y + turn[axis, 2] for axis in range(3)])
    # A ray exactly along a plane would divide zero by zero where it also starts in it.
    direction[direction == 0] = 1e-9
    return Rays(origin.astype(np.float32), rotation, direction, 2 * focal, (2 * centre[0] + 1, 2 * centre[1] + 1))


def trace(rays: Rays, solids: Sequence[Solid], sun: np.ndarray) -> Hits:
    """Nearest hit of every ray with the ground y = 0 and the ``solids``; ``sun`` is a unit vector (3,)."""
    inverse = 1 / rays.direction
    ground = -rays.origin[1] * inverse[1]
    below = (ground > 0) & (ground < FAR)
    hits = Hits(
        depth=np.where(below, ground, np.float32(np.inf)),
        solid=np.where(below, np.int16(GROUND), np.int16(SKY)),
        face=np.full(ground.shape, FACE_Y, np.int8),
        light=np.full(ground.shape, lambert(-sun[1]), np.float32),
    )
    for index, (solid, window) in enumerate(zip(solids, _windows(rays, solids), strict=True)):
        if not hits.depth[window].size:  # out of sight
            continue
        hit = _hit_ball(rays, solid, window, sun) if solid.ball else _hit_box(rays.origin, inverse, solid, window, sun)
        inside, near, face, light = hit
        # "<=" lets a box of no height, a shadow, win over the ground that it lies in.
        won = inside & (near > 0) & (near <= hits.depth[window])
        hits.depth[window][won] = near[won]
        hits.solid[window][won] = index
        hits.face[window][won] = face[won]
        hits.light[window][won] = light[won]
    return hits


def lambert(cosine: np.ndarray | float) -> np.ndarray:
    """Brightness of a surface from the cosine between its normal and the sun: mild, never black."""
    return 0.62 + 0.38 * np.clip(cosine, 0.0, 1.0)


Window = tuple[slice, slice]
Hit = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # whether the ray hits, depth, face, light


def _windows(rays: Rays, solids: Sequence[Solid]) -> list[Window]:
    """Rows and columns of the grid that each solid's box can cover; none for one out of sight."""
    if not solids:
        return []
    height, width = rays.direction.shape[1:]
    ends = np.array([(solid.low, solid.high) for solid in solids])
    corners = np.stack([ends[:, [i, j, k], [0, 1, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)], axis=1)
    x, y, z = np.moveaxis((corners - rays.origin) @ rays.rotation, -1, 0)
    # A box that reaches behind the camera has no outline in the picture; all rays are tried.
    whole = z.min(axis=1) <= 0.1
    z = np.where(whole[:, None], 1, z)
    windows = []
    for scale, centre, length in ((y / z, rays.centre[1], height), (x / z, rays.centre[0], width)):
        places = rays.focal * scale + centre
        first = np.where(whole, 0, places.min(axis=1).clip(0, length)).astype(int)
        last = np.where(whole, length, places.max(axis=1).clip(-2, length) + 2).astype(int)
        windows.append([slice(*ends) for ends in zip(first, last, strict=True)])
    return [*zip(*windows, strict=True)]


def _hit_box(origin: np.ndarray, inverse: np.ndarray, solid: Solid, window: Window, sun: np.ndarray) -> Hit:
    """Slab method: the ray is inside the box between the last entry and the first exit."""
    slope = inverse[(slice(None), *window)]
    low = (np.array(solid.low, np.float32) - origin)[:, None, None] * slope
    high = (np.array(solid.high, np.float32) - origin)[:, None, None] * slope
    entry = np.minimum(low, high)
    face, near = entry.argmax(axis=0), entry.max(axis=0)
    forward = np.take_along_axis(slope, face[None], axis=0)[0] > 0  # the normal points against the ray
    light = np.where(forward, lambert(-sun)[face], lambert(sun)[face])
    return near <= np.maximum(low, high).min(axis=0), near, face, light


def _hit_ball(rays: Rays, solid: Solid, window: Window, sun: np.ndarray) -> Hit:
    """Scaled axes make the ellipsoid a unit sphere, whose hit solves a quadratic in the ray's length."""
    low, high = np.array(solid.low, np.float32), np.array(solid.high, np.float32)
    radius, middle = (high - low) / 2, (high + low) / 2
    start = (rays.origin - middle) / radius
    direction = rays.direction[(slice(None), *window)] / radius[:, None, None]
    square = (direction * direction).sum(axis=0)
    half = (direction * start[:, None, None]).sum(axis=0)
    rest = half * half - square * (start @ start - 1)
    near = (-half - np.sqrt(np.maximum(rest, 0))) / square
    normal = (start[:, None, None] + direction * near) / radius[:, None, None]
    normal /= np.linalg.norm(normal, axis=0)
    light = lambert(np.tensordot(sun.astype(np.float32), normal, axes=1))
    return rest > 0, near, np.full(near.shape, ROUND), light
