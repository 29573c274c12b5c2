"""Depth maps as pictures: near is bright and warm, far is dark, and a bar at the side says how many metres that is.

Colours are linear in 1 / depth, as disparities are: half of a street's pixels are nearer than 15 m, and in colours
linear in depth they would all look the same. The bar's labels stand where their depth has its colour.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np

from bireal_plugin.errors import InputError

Colours = Literal['magma', 'plasma']
MAPS = dict(magma=cv2.COLORMAP_MAGMA, plasma=cv2.COLORMAP_PLASMA)
RANGE_PIXELS = 200_000  # looked at for a range
FEWEST_FRAMES, MOST_FRAMES = 10, 120  # of a running range
PERCENTILES = (2, 95)  # the far end earlier: sky and horizon have no depth worth a colour
MIN_HEIGHT = 64  # of a picture with a bar, in px, so that two labels fit
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 22  # of a capital letter in px at scale 1
INK, PAPER = (0, 0, 0), 255
NO_DEPTH = (128, 128, 128)


def depth_range(depth: np.ndarray) -> tuple[float, float]:
    """Nearest and farthest depth to show of a map: its 2nd and 95th percentile, of every nth pixel of a large one.

    Raises:
        InputError: there is no depth in it at all.
    """
    few = depth.ravel()[:: max(1, depth.size // RANGE_PIXELS)]
    seen = next((seen for values in (few, depth) if (seen := values[np.isfinite(values) & (values > 0)]).size), few[:0])
    if not seen.size:
        raise InputError('no pixel has a depth: the network predicts no positive disparity')
    near, far = (float(value) for value in np.percentile(seen, PERCENTILES))
    # A flat map has no range of its own.
    return (near, far) if far > near * 1.02 else (near * 0.9, near * 1.1)


class RunningRange:
    """Range of the colours of a video: the median of the ranges of its last two seconds.

    Frames that are black, as at the start of many videos, or odd ones are outvoted, and colours move slowly.

    Args:
        rate: frames per second.
    """

    def __init__(self, rate: float) -> None:
        self.ranges: deque[tuple[float, float]] = deque(maxlen=min(max(round(2 * rate), FEWEST_FRAMES), MOST_FRAMES))

    def after(self, depth: np.ndarray) -> tuple[float, float]:
        """Nearest and farthest depth to show of the next frame, ``(H, W)``.

        Raises:
            InputError: neither this frame nor one before it has any depth.
        """
        try:
            self.ranges.append(depth_range(depth))
        except InputError:
            if not self.ranges:
                raise
        near, far = (float(np.median(ends)) for ends in zip(*self.ranges, strict=True))
        return near, far


def coloured(depth: np.ndarray, near: float, far: float, *, colours: Colours = 'magma') -> np.ndarray:
    """A depth map ``(H, W)`` as RGB uint8 ``(H, W, 3)``: ``near`` and nearer brightest, ``far`` and farther darkest.

    Infinite depth is far. Zero, negative and NaN are no depth, and grey.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        shade = np.reciprocal(depth, dtype=np.float32)
        shade -= np.float32(1 / far)
        shade *= np.float32(255 / (1 / near - 1 / far))
    np.clip(shade, 0, 255, out=shade)
    np.rint(shade, out=shade)
    seen = depth > 0
    if seen.all():
        return cv2.applyColorMap(shade.astype(np.uint8), _table(colours))
    shade[~seen] = 0
    picture = cv2.applyColorMap(shade.astype(np.uint8), _table(colours))
    picture[~seen] = NO_DEPTH
    return picture


@cache
def _table(colours: Colours) -> np.ndarray:
    """Colours of the 256 shades in RGB, as ``cv2.applyColorMap`` looks them up."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], MAPS[colours])[:, :, ::-1].copy()


def shade_of(depth: Any, near: float, far: float) -> Any:
    """Position of a depth (number or array) in the colour map, from 0 (far) to 1 (near): linear in 1 / depth."""
    return np.clip((1 / depth - 1 / far) / (1 / near - 1 / far), 0, 1)


def with_bar(picture: np.ndarray, near: float, far: float, *, unit: str, colours: Colours = 'magma') -> np.ndarray:
    """A picture RGB uint8 ``(H, W, 3)`` with the colours' bar to its right, near at the bottom as in a street.

    Args:
        unit: suffix of the labels, such as 'm'.
    """
    height = max(picture.shape[0], MIN_HEIGHT)
    scale = max(height / 32, 9) / FONT_HEIGHT
    capital, gap = round(FONT_HEIGHT * scale), round(max(height / 64, 5))
    top, bottom = capital, height - 1 - capital
    labels = bar_labels(near, far, pixels=bottom - top, spacing=2 * capital)
    texts = {f'{depth:g} {unit}': depth for depth in labels}
    text_width = max(cv2.getTextSize(text, FONT, scale, 1)[0][0] for text in texts)
    strip = 3 * gap
    bar = np.full((height, 4 * gap + strip + text_width, 3), PAPER, np.uint8)
    # The depths of the bar's rows, evenly spaced in 1 / depth, go through the very function that coloured the picture.
    rows = 1 / np.linspace(1 / far, 1 / near, bottom - top + 1)
    bar[top : bottom + 1, gap : gap + strip] = coloured(rows[:, None], near, far, colours=colours)
    cv2.rectangle(bar, (gap, top), (gap + strip - 1, bottom), INK, 1)
    for text, depth in texts.items():
        row = round(top + float(shade_of(depth, near, far)) * (bottom - top))
        cv2.line(bar, (gap + strip, row), (2 * gap + strip - 1, row), INK, 1)
        at = (2 * gap + strip + gap // 2, row + capital // 2)
        cv2.putText(bar, text, at, FONT, scale, INK, 1, cv2.LINE_AA)
    return side_by_side(picture, bar)


def bar_labels(near: float, far: float, *, pixels: int, spacing: int) -> list[float]:
    """Depths to label a bar of ``pixels`` with: its ends, and round numbers ``spacing`` px or more from the others."""
    labels = [float(f'{end:.3g}') for end in (near, far)]  # with the digits that are shown
    taken = [float(pixels), 0.0]
    decades = range(int(np.floor(np.log10(near))), int(np.ceil(np.log10(far))) + 1)
    # Powers of ten first, then 5, 2 and 3.
    for step in (1, 5, 2, 3):
        for decade in decades:
            depth = step * 10.0**decade
            place = float(shade_of(depth, near, far)) * pixels
            if near < depth < far and all(abs(place - other) >= spacing for other in taken):
                labels.append(depth)
                taken.append(place)
    return sorted(set(labels))


def side_by_side(image: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Image and picture side by side; the image is padded at the bottom to the picture's height."""
    padding = np.full((picture.shape[0] - image.shape[0], image.shape[1], 3), PAPER, np.uint8)
    return np.concatenate([np.concatenate([image, padding]), picture], axis=1)
