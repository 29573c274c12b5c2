"""Files made of a prediction: the forms that ``--save`` names, their suffixes, and the writing of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.pictures import (
    Colours,
    depth_range,
    painted,
    palette,
    shades,
    side_by_side,
    with_bar,
)
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.depth.png import write_png
from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole

JPEG_QUALITY = 92
MAX_DEPTH = 80.0  # m; points beyond are a grey wall of sky
PROPERTIES = ('x', 'y', 'z', 'red', 'green', 'blue')
VERTEX = np.dtype([*zip(PROPERTIES, ['<f4'] * 3 + ['u1'] * 3, strict=True)])
HEADER = (
    'ply\nformat binary_little_endian 1.0\ncomment camera coordinates in metres: x right, y down, z forward\n'
    'element vertex {count}\n'
    + ''.join(f'property {kind} {name}\n' for name, kind in zip(PROPERTIES, ['float'] * 3 + ['uchar'] * 3, strict=True))
    + 'end_header\n'
)


def back_projected(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Points ``(H, W, 3)`` float32 in m, in the camera's coordinates: x right, y down, z = depth forward.

    ``x = (u - cx) z / f``, ``y = (v - cy) z / f``. A camera without principal point has it in the image's centre.

    Args:
        depth: ``(H, W)`` in m.
    """
    height, width = depth.shape
    seen = replace(camera, height=None).for_image((height, width))
    focal = seen.focal
    cx = (width - 1) / 2 if seen.cx is None else seen.cx
    cy = (height - 1) / 2 if seen.cy is None else seen.cy
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
    for name, values in zip(PROPERTIES, [*points.T, *colours.T], strict=True):
        vertices[name] = values
    with whole(path) as partial:
        partial.write_bytes(HEADER.format(count=len(vertices)).encode() + vertices.tobytes())
    return len(vertices)


# Endings of each form's file, behind the input's name; {kind} is 'depth' for metres and 'relative' for relative depth.
FILMED = ('colour', 'side', 'confidence')  # of a video these are a video, the others a file per frame
SUFFIXES = dict(png16='_{kind}.png', npy='_{kind}.npy', ply='.ply', **{form: f'_{form}.png' for form in FILMED})


@dataclass(frozen=True)
class Estimate:
    """An image and its predicted depth."""

    image: np.ndarray  # RGB uint8 (H, W, 3)
    depth: np.ndarray  # (H, W) float32, in m or relative; infinite where there is none
    camera: Camera | None  # None where depth is relative
    confidence: np.ndarray | None = None  # (H, W) from 0 to 1, None unless it was asked for

    @property
    def unit(self) -> str:
        """Unit suffix of depths: metres, or relative."""
        return 'rel.' if self.camera is None else 'm'


def depth_of(disparity: np.ndarray, camera: Camera | None) -> np.ndarray:
    """Depth ``(H, W)`` of a disparity in px of its own width: in m, or without a camera relative.

    Relative depth is width / disparity, so that it compares between images of any size: it is the depth in units of
    baseline x focal length / width. Depth is infinite where the disparity is not positive.
    """
    width = disparity.shape[1]
    if camera is None:
        camera = Camera(focal=width, width=width, baseline=1, source='relative')
    return camera.depth(disparity, width=width)


@dataclass(frozen=True)
class Style:
    """Colours and limits of pictures and point clouds.

    Raises:
        InputError: depths that are not 0 < near < far < infinity, or a ``max_depth`` that is not positive.
    """

    colours: Colours = 'magma'
    near_far: tuple[float, float] | None = None  # of the brightest and the darkest colour; None for each picture's own
    max_depth: float = MAX_DEPTH  # m, of points

    def __post_init__(self) -> None:
        if self.near_far is not None and not 0 < self.near_far[0] < self.near_far[1] < float('inf'):
            raise InputError(f'--range takes two depths, 0 < MIN < MAX, not {self.near_far[0]:g} {self.near_far[1]:g}')
        if not self.max_depth > 0:
            raise InputError(f'--max-depth must be positive, not {self.max_depth:g}')


def output_path(folder: Path, name: str, form: str, *, metric: bool, filmed: bool = False, jpeg: bool = False) -> Path:
    """Path of the file that holds one form of the input ``name``; ``filmed`` for a video, ``jpeg`` for a JPEG."""
    suffix = SUFFIXES[form].format(kind='depth' if metric else 'relative')
    if form in FILMED and (filmed or jpeg):
        suffix = suffix.replace('.png', '.mp4' if filmed else '.jpg')
    return folder / f'{name}{suffix}'


def check_forms(forms: Sequence[str], *, flip: bool) -> None:
    """Refuse unknown forms, and a confidence map without the mirror image that it compares with.

    Raises:
        InputError: the form is named.
    """
    for form in forms:
        if form not in SUFFIXES:
            raise InputError(f'--save {form}: there are {", ".join(SUFFIXES)}')
    if 'confidence' in forms and not flip:
        raise InputError('--save confidence is how far an image and its mirror image agree; add --flip')


def numbered(estimate: Estimate, style: Style) -> np.ndarray:
    """Picture of depth with its bar, as numbers ``(H, W)`` of colours in the style's palette.

    Raises:
        InputError: there is no depth in it.
    """
    near, far = style.near_far or depth_range(estimate.depth)
    return with_bar(shades(estimate.depth, near, far), near, far, unit=estimate.unit)


def picture(estimate: Estimate, form: str, style: Style) -> np.ndarray:
    """RGB uint8 picture ``(H, W, 3)`` of an estimate: 'colour', 'side' or 'confidence'."""
    if form == 'confidence':
        assert estimate.confidence is not None
        return cv2.cvtColor(np.rint(estimate.confidence * 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)  # 1 is white
    shown = painted(numbered(estimate, style), style.colours)
    return side_by_side(estimate.image, shown) if form == 'side' else shown


def save(estimate: Estimate, form: str, path: Path, style: Style) -> None:
    """Write one form of an estimate to ``path``.

    Raises:
        InputError: nothing to show.
    """
    if form == 'png16':
        write_depth_png(path, estimate.depth)
    elif form == 'npy':
        with whole(path) as partial:
            np.save(partial, estimate.depth)
    elif form == 'ply':
        if estimate.camera is None:
            raise InputError('a point cloud needs the camera; give --focal PX, or --calibration FILE')
        write_point_cloud(path, estimate.depth, estimate.image, estimate.camera, max_depth=style.max_depth)
    elif path.suffix != '.png':
        pixels = cv2.cvtColor(picture(estimate, form, style), cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode(path.suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        with whole(path) as partial:
            partial.write_bytes(encoded.tobytes())
    elif form == 'colour':
        write_png(path, numbered(estimate, style), palette=palette(style.colours))
    else:
        write_png(path, picture(estimate, form, style))
