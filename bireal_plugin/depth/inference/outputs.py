"""What is kept of a prediction: the forms that ``--save`` names, the files they become, and how each is written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.pictures import Colours, coloured, depth_range, grey, side_by_side, with_bar
from bireal_plugin.depth.inference.point_cloud import MAX_DEPTH, write_point_cloud, write_whole
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.errors import InputError

# What each form is called behind the input's name; {kind} is 'depth' or 'relative', so that no file promises metres
# that it has not.
SUFFIXES = dict(
    png16='_{kind}.png',
    npy='_{kind}.npy',
    colour='_colour.png',
    side='_side.png',
    ply='.ply',
    confidence='_confidence.png',
)
FILMED = ('colour', 'side', 'confidence')  # of a video these are a video, the others a file per frame


@dataclass(frozen=True)
class Estimate:
    """An image and what was found out about it.

    Attributes:
        image: RGB uint8 ``(H, W, 3)``. depth: ``(H, W)`` float32, in m or relative; infinite where there is none.
        camera: None where depth is relative.
        confidence: ``(H, W)`` from 0 to 1, None unless it was asked for.
    """

    image: np.ndarray
    depth: np.ndarray
    camera: Camera | None
    confidence: np.ndarray | None = None

    @property
    def unit(self) -> str:
        """Behind numbers."""
        return 'rel.' if self.camera is None else 'm'


@dataclass(frozen=True)
class Style:
    """How pictures and point clouds look.

    Attributes:
        near_far: depths of the brightest and the darkest colour; None for each picture's own.
        max_depth: of points, in m.
    """

    colours: Colours = 'magma'
    near_far: tuple[float, float] | None = None
    max_depth: float = MAX_DEPTH


def output_path(folder: Path, name: str, form: str, *, metric: bool, filmed: bool = False) -> Path:
    """The file that one form of the input ``name`` is written to."""
    suffix = SUFFIXES[form].format(kind='depth' if metric else 'relative')
    return folder / f'{name}{suffix.replace(".png", ".mp4") if filmed else suffix}'


def check_forms(forms: Sequence[str], *, flip: bool) -> None:
    """Refuse forms that there are not, and a confidence that nothing is averaged for.

    Raises:
        InputError: such a form.
    """
    for form in forms:
        if form not in SUFFIXES:
            raise InputError(f'--save {form}: there are {", ".join(SUFFIXES)}')
    if 'confidence' in forms and not flip:
        raise InputError('--save confidence is how far an image and its mirror image agree; add --flip')


def picture(estimate: Estimate, form: str, style: Style) -> np.ndarray:
    """The forms that are pictures, RGB uint8."""
    if form == 'confidence':
        assert estimate.confidence is not None
        return grey(estimate.confidence)
    near, far = style.near_far or depth_range(estimate.depth)
    shown = coloured(estimate.depth, near, far, colours=style.colours)
    shown = with_bar(shown, near, far, unit=estimate.unit, colours=style.colours)
    return side_by_side(estimate.image, shown) if form == 'side' else shown


def save(estimate: Estimate, form: str, path: Path, style: Style) -> None:
    """Write one form of an estimate to ``path``.

    Raises:
        InputError: a point cloud without camera, or nothing to show.
    """
    if form == 'png16':
        write_depth_png(path, estimate.depth)
    elif form == 'npy':
        content = io.BytesIO()
        np.save(content, estimate.depth)
        write_whole(path, content.getvalue())
    elif form == 'ply':
        if estimate.camera is None:
            raise InputError(f'{path}: a point cloud needs the camera; give --focal PX and --baseline METRES')
        write_point_cloud(path, estimate.depth, estimate.image, estimate.camera, max_depth=style.max_depth)
    else:
        write_whole(path, png(picture(estimate, form, style)))


def png(image: np.ndarray) -> bytes:
    """An RGB uint8 picture as the bytes of a .png."""
    return cv2.imencode('.png', np.ascontiguousarray(image[:, :, ::-1]))[1].tobytes()
