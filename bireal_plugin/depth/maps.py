"""Depth and disparity maps: reading and writing the KITTI benchmark's 16-bit PNG, resizing, and measuring in them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bireal_plugin.data.image_file import check_pixels
from bireal_plugin.depth.png import write_png
from bireal_plugin.errors import InputError

UNITS = 256  # per m, or per px of disparity
LARGEST = np.iinfo(np.uint16).max
Point = tuple[int, int]
Box = tuple[int, int, int, int]


def read_depth_png(path: str | Path) -> np.ndarray:
    """Read a 16-bit depth map, ``(H, W)`` float32 in m, 0 where there is no value; a disparity map likewise, in px.

    Raises:
        InputError: a missing, unreadable or too large file, or a picture that is not one 16-bit channel.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'the depth map {path} is missing')
    check_pixels(path)
    try:
        stored = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        stored = None
    if stored is None:
        raise InputError(f'{path} cannot be read as a picture; it is truncated or foreign, so copy it again')
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise InputError(
            f'{path} is {stored.dtype} with shape {stored.shape}, not a 16-bit picture with one channel; '
            'a depth map holds m x 256, a disparity map px x 256, as uint16'
        )
    return stored.astype(np.float32) / UNITS


def write_depth_png(path: str | Path, depth: np.ndarray) -> Path:
    """Write a depth map ``(H, W)`` in m, rounded to 1/256 m.

    Depths that the format cannot hold are stored as 0, no value: infinite or NaN, 0 or negative, and beyond 65535/256 m
    (255.996 m). Depths above 0 that would round to 0 are stored as the smallest one.

    Raises:
        InputError: a name that does not end in .png, or an array that is not ``(H, W)``.
        OSError: the file cannot be written; nothing is left behind and an older file stays.
    """
    path = Path(path)
    if path.suffix.lower() != '.png':
        raise InputError(f'a 16-bit depth map is a .png file, so {path} cannot be written; name it {path.stem}.png')
    if depth.ndim != 2 or not depth.size:
        raise InputError(f'a depth map has the shape (H, W), not {depth.shape}; {path} was not written')
    # Exact in float32: a power of two changes no digit, and units up to 65535 are whole numbers there.
    with np.errstate(over='ignore'):
        units = depth.astype(np.result_type(depth, np.float32), copy=False) * UNITS
    np.rint(units, out=units)
    held = (depth > 0) & (units <= LARGEST)  # false for NaN
    np.maximum(units, 1, out=units)
    return write_png(path, np.where(held, units, 0).astype(np.uint16))


def resized_disparity(disparity: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``disparity`` (h, w) in px of its width w, bilinearly at ``size`` (H, W): float32 in px of the width W."""
    disparity = disparity.astype(np.float32)
    if disparity.shape == size:
        return disparity
    height, width = size
    scaled = disparity * np.float32(width / disparity.shape[1])
    return cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)


def resized_depth(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``depth`` (h, w) at ``size`` (H, W), infinite where there is none.

    Bilinear in 1 / depth: between something near and something far, or nothing, depths have no mean.
    """
    if depth.shape == size:
        return np.where(depth > 0, depth, np.float32(np.inf))
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0)
    resized = cv2.resize(inverse, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.divide(1, resized, out=np.full_like(resized, np.inf), where=resized > 0)


def filled_at(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels of ``values`` (h, w) resized to ``size`` interpolated between positive ones alone."""
    filled = (values > 0).astype(np.float32)
    return filled > 0 if values.shape == size else cv2.resize(filled, size[::-1], interpolation=cv2.INTER_LINEAR) == 1


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
