"""Ray casting for the rendered street: first surface and depth of each pixel's ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bireal_plugin.depth.street.layout import Solid

GROUND, SKY = -1, -2
"""Values of ``Hits.solid`` where no solid was hit."""

FACE_X, FACE_Y, FACE_Z, ROUND = range(4)
"""Orientation of the hit surface; it chooses the coordinates that texture is laid on."""

FAR = 150.0
"""Ground further away than this (m) is taken for the sky's haze."""


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
        if window is None:
            continue
        if solid.ball:
            _hit_ball(hits, rays, solid, index, window, sun)
        else:
            _hit_box(hits, rays.origin, inverse, solid, index, window, sun)
    return hits


def lambert(cosine: np.ndarray | float) -> np.ndarray:
    """Brightness of a surface from the cosine between its normal and the sun: mild, never black."""
    return 0.62 + 0.38 * np.clip(cosine, 0.0, 1.0)


Window = tuple[slice, slice]


def _windows(rays: Rays, solids: Sequence[Solid]) -> list[Window | None]:
    """Rows and columns of the grid that each solid's box can cover; ``None`` for one out of sight."""
    if not solids:
        return []
    height, width = rays.direction.shape[1:]
    ends = np.array([(solid.low, solid.high) for solid in solids])
    corners = np.stack([ends[:, [i, j, k], [0, 1, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)], axis=1)
    x, y, z = np.moveaxis((corners - rays.origin) @ rays.rotation, -1, 0)
    # A box that reaches behind the camera has no outline in the picture; all rays are tried.
    whole = z.min(axis=1) <= 0.1
    z = np.where(whole[:, None], 1, z)
    columns, rows = rays.focal * x / z + rays.centre[0], rays.focal * y / z + rays.centre[1]
    top, left = rows.min(axis=1).clip(0, height), columns.min(axis=1).clip(0, width)
    bottom, right = rows.max(axis=1).clip(-2, height) + 2, columns.max(axis=1).clip(-2, width) + 2
    windows: list[Window | None] = []
    for index in range(len(solids)):
        if whole[index]:
            windows.append((slice(0, height), slice(0, width)))
        elif top[index] < bottom[index] and left[index] < right[index]:
            windows.append((slice(int(top[index]), int(bottom[index])), slice(int(left[index]), int(right[index]))))
        else:
            windows.append(None)
    return windows


def _hit_box(
    hits: Hits, origin: np.ndarray, inverse: np.ndarray, solid: Solid, index: int, window: Window, sun: np.ndarray
) -> None:
    """Slab method: the ray is inside the box between the last entry and the first exit."""
    slope = inverse[(slice(None), *window)]
    low = (np.array(solid.low, np.float32) - origin)[:, None, None] * slope
    high = (np.array(solid.high, np.float32) - origin)[:, None, None] * slope
    entry = np.minimum(low, high)
    leave = np.maximum(low, high).min(axis=0)
    near = entry.max(axis=0)
    # "<=" lets a box of no height, a shadow, win over the ground that it lies in.
    won = (near <= leave) & (near > 0) & (near <= hits.depth[window])
    if not won.any():
        return
    face = entry[:, won].argmax(axis=0)
    # The normal points against the ray.
    forward = np.take_along_axis(slope[:, won], face[None], axis=0)[0] > 0
    hits.depth[window][won] = near[won]
    hits.solid[window][won] = index
    hits.face[window][won] = face
    hits.light[window][won] = np.where(forward, lambert(-sun)[face], lambert(sun)[face])


def _hit_ball(hits: Hits, rays: Rays, solid: Solid, index: int, window: Window, sun: np.ndarray) -> None:
    """Scaled axes make the ellipsoid a unit sphere, whose hit solves a quadratic in the ray's length."""
    low, high = np.array(solid.low, np.float32), np.array(solid.high, np.float32)
    radius, middle = (high - low) / 2, (high + low) / 2
    start = (rays.origin - middle) / radius
    direction = rays.direction[(slice(None), *window)] / radius[:, None, None]
    square = (direction * direction).sum(axis=0)
    half = (direction * start[:, None, None]).sum(axis=0)
    rest = half * half - square * (start @ start - 1)
    near = (-half - np.sqrt(np.maximum(rest, 0))) / square
    won = (rest > 0) & (near > 0) & (near < hits.depth[window])
    normal = (start[:, None] + direction[:, won] * near[won]) / radius[:, None]
    normal /= np.linalg.norm(normal, axis=0)
    hits.depth[window][won] = near[won]
    hits.solid[window][won] = index
    hits.face[window][won] = ROUND
    hits.light[window][won] = lambert(sun.astype(np.float32) @ normal)
