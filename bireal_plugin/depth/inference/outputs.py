"""Files made of a prediction: the forms that ``--save`` names, their suffixes, and the writing of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.pictures import Colours, coloured, depth_range, grey, side_by_side, with_bar
from bireal_plugin.depth.inference.point_cloud import MAX_DEPTH, write_point_cloud
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole

# Endings of each form's file, behind the input's name; {kind} is 'depth' for metres and 'relative' for relative depth.
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
    """An image and its predicted depth.

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
        """Unit suffix of depths: metres, or relative."""
        return 'rel.' if self.camera is None else 'm'


@dataclass(frozen=True)
class Style:
    """Colours and limits of pictures and point clouds.

    Attributes:
        colours: name of the colour map.
        near_far: depths of the brightest and the darkest colour; None for each picture's own.
        max_depth: of points, in m.

    Raises:
        InputError: depths that are not 0 < near < far < infinity, or a ``max_depth`` that is not positive.
    """

    colours: Colours = 'magma'
    near_far: tuple[float, float] | None = None
    max_depth: float = MAX_DEPTH

    def __post_init__(self) -> None:
        if self.near_far is not None and not 0 < self.near_far[0] < self.near_far[1] < float('inf'):
            raise InputError(f'--range takes two depths, 0 < MIN < MAX, not {self.near_far[0]:g} {self.near_far[1]:g}')
        if not self.max_depth > 0:
            raise InputError(f'--max-depth must be positive, not {self.max_depth:g}')


def output_path(folder: Path, name: str, form: str, *, metric: bool, filmed: bool = False) -> Path:
    """Path of the file that holds one form of the input ``name``; ``filmed`` for a video of it."""
    suffix = SUFFIXES[form].format(kind='depth' if metric else 'relative')
    return folder / f'{name}{suffix.replace(".png", ".mp4") if filmed else suffix}'


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


def picture(estimate: Estimate, form: str, style: Style) -> np.ndarray:
    """RGB uint8 picture ``(H, W, 3)`` of an estimate: 'colour', 'side' or 'confidence'."""
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
        with whole(path) as partial:
            np.save(partial, estimate.depth)
    elif form == 'ply':
        if estimate.camera is None:
            raise InputError(f'{path}: a point cloud needs the camera; give --focal PX and --baseline METRES')
        write_point_cloud(path, estimate.depth, estimate.image, estimate.camera, max_depth=style.max_depth)
    else:
        with whole(path) as partial:
            Image.fromarray(picture(estimate, form, style)).save(partial, compress_level=1)
