"""A depth map as points in space, and the .ply file that viewers open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole

MAX_DEPTH = 80.0  # m; points beyond are a grey wall of sky
VERTEX = np.dtype([(axis, '<f4') for axis in 'xyz'] + [(channel, 'u1') for channel in ('red', 'green', 'blue')])
HEADER = """ply
format binary_little_endian 1.0
comment camera coordinates in metres: x right, y down, z forward
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
end_header
"""


def back_projected(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Points ``(H, W, 3)`` float32 in m, in the camera's coordinates: x right, y down, z = depth forward.

    ``x = (u - cx) z / f``, ``y = (v - cy) z / f``. A camera without principal point has it in the image's centre.

    Args:
        depth: ``(H, W)`` in m.
    """
    height, width = depth.shape
    focal, ratio = camera.focal_at(width), width / camera.width
    # Pixel centres are at whole numbers, so that resizing moves a point from c to (c + 1/2) ratio - 1/2.
    cx = (width - 1) / 2 if camera.cx is None else (camera.cx + 0.5) * ratio - 0.5
    cy = (height - 1) / 2 if camera.cy is None else (camera.cy + 0.5) * ratio - 0.5
    v, u = np.mgrid[:height, :width]
    with np.errstate(invalid='ignore'):  # infinite depth in the very centre
        points = np.stack([(u - cx) * depth / focal, (v - cy) * depth / focal, depth], axis=-1)
    return points.astype(np.float32)


def write_point_cloud(
    path: str | Path, depth: np.ndarray, image: np.ndarray, camera: Camera, *, max_depth: float = MAX_DEPTH
) -> int:
    """Write the points with a depth up to ``max_depth`` as a binary .ply with colours; return their number.

    Args:
        depth: ``(H, W)`` in m; not finite or not positive where there is none. image: RGB uint8 ``(H, W, 3)``.

    Raises:
        InputError: the image is of another size, or no point is left.
    """
    if image.shape != (*depth.shape, 3):
        raise InputError(f'{path}: an image of shape {image.shape} cannot colour a depth map of shape {depth.shape}')
    kept = np.isfinite(depth) & (depth > 0) & (depth <= max_depth)
    vertices = np.empty(int(kept.sum()), VERTEX)
    if not len(vertices):
        raise InputError(f'{path}: no point has a depth up to {max_depth:g} m; raise --max-depth')
    points, colours = back_projected(depth, camera)[kept], image[kept]
    for i, axis in enumerate('xyz'):
        vertices[axis] = points[:, i]
    for i, channel in enumerate(('red', 'green', 'blue')):
        vertices[channel] = colours[:, i]
    with whole(path) as partial:
        partial.write_bytes(HEADER.format(count=len(vertices)).encode() + vertices.tobytes())
    return len(vertices)
