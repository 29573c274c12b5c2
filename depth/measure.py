"""Depth at a point or in a box of a depth map, as ``--at`` and ``--box`` ask for it."""

from __future__ import annotations

import numpy as np

from bireal_plugin.errors import InputError

Point = tuple[int, int]
Box = tuple[int, int, int, int]


def depth_at(depth: np.ndarray, point: Point) -> float:
    """Depth of the pixel in column x and row y.

    Raises:
        InputError: the point is outside the image, or has no depth.
    """
    (x, y), (height, width) = point, depth.shape
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f'--at {x},{y} is outside the image of {width} x {height}')
    if not np.isfinite(depth[y, x]):
        raise InputError(f'--at {x},{y} has no depth: the network predicts no positive disparity there')
    return float(depth[y, x])


def depth_in(depth: np.ndarray, box: Box) -> float:
    """Median depth of the columns x0 to x1 and rows y0 to y1, the last ones not counted.

    Raises:
        InputError: the box is empty or not inside the image, or no pixel in it has a depth.
    """
    (x0, y0, x1, y1), (height, width) = box, depth.shape
    name = f'--box {x0},{y0},{x1},{y1}'
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f'{name} is no box X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1 inside the image of {width} x {height}'
        )
    inside = depth[y0:y1, x0:x1]
    seen = inside[np.isfinite(inside)]
    if not seen.size:
        raise InputError(f'{name} has no depth: the network predicts no positive disparity there')
    return float(np.median(seen))
