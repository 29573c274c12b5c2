"""Depth maps as pictures: near is bright and warm, far is dark, and a bar at the side says how many metres that is.

A picture is a number of a colour for every pixel, so that it is coloured last, or, in a PNG file, never.

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
# Colours of a picture: those of depth and, for its bar, greys; together as many as a byte can number.
SHADES, GREYS = 241, 15
NO_DEPTH = SHADES + GREYS // 2
RANGE_PIXELS = 20_000  # looked at for a range
FEWEST_FRAMES, MOST_FRAMES = 10, 120  # of a running range
PERCENTILES = (2, 95)  # the far end earlier: sky and horizon have no depth worth a colour
MIN_HEIGHT = 64  # of a picture with a bar, in px, so that two labels fit
WIDEST = '0.888'
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 22  # of a capital letter in px at scale 1
INK, PAPER = 0, 255


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


def shades(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """A depth map ``(H, W)`` as numbers of colours in ``palette``, uint8 ``(H, W)``: ``near`` and nearer brightest,
    ``far`` and farther darkest.

    Infinite depth is far. Zero, negative and NaN are no depth, and grey.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        shade = np.reciprocal(depth, dtype=np.float32)
        shade -= np.float32(1 / far)
        shade *= np.float32((SHADES - 1) / (1 / near - 1 / far))
        np.clip(shade, 0, SHADES - 1, out=shade)
        np.rint(shade, out=shade)
        numbers = shade.astype(np.uint8)
    seen = depth > 0
    if not seen.all():
        numbers[~seen] = NO_DEPTH
    return numbers


@cache
def palette(colours: Colours) -> np.ndarray:
    """Colours RGB uint8 ``(256, 3)``: those of depth from far to near, and behind them greys from black to white."""
    map = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], MAPS[colours])[:, 0, ::-1]
    depths = map[np.rint(np.linspace(0, 255, SHADES)).astype(int)]
    greys = np.rint(np.linspace(0, 255, GREYS)).astype(np.uint8)
    return np.concatenate([depths, np.repeat(greys[:, None], 3, axis=1)])


def painted(numbers: np.ndarray, colours: Colours) -> np.ndarray:
    """RGB uint8 ``(H, W, 3)`` of numbers of colours ``(H, W)``."""
    return cv2.applyColorMap(numbers, palette(colours)[:, None])


def shade_of(depth: Any, near: float, far: float) -> Any:
    """Position of a depth (number or array) in the colour map, from 0 (far) to 1 (near): linear in 1 / depth."""
    return np.clip((1 / depth - 1 / far) / (1 / near - 1 / far), 0, 1)


def with_bar(numbers: np.ndarray, near: float, far: float, *, unit: str) -> np.ndarray:
    """Numbers of colours ``(H, W)`` with the colours' bar to their right, near at the bottom as in a street.

    Args:
        unit: suffix of the labels, such as 'm'.
    """
    height = max(numbers.shape[0], MIN_HEIGHT)
    scale = max(height / 32, 9) / FONT_HEIGHT
    capital, gap = round(FONT_HEIGHT * scale), round(max(height / 64, 5))
    top, bottom = capital, height - 1 - capital
    labels = bar_labels(near, far, pixels=bottom - top, spacing=2 * capital)
    texts = {f'{digits(depth)} {unit}': depth for depth in labels}
    # Frames of a film have different ranges and one size.
    text_width = max(cv2.getTextSize(text, FONT, scale, 1)[0][0] for text in (f'{WIDEST} {unit}', *texts))
    strip = 3 * gap
    grey = np.full((height, 4 * gap + strip + text_width), PAPER, np.uint8)
    cv2.rectangle(grey, (gap, top), (gap + strip - 1, bottom), INK, 1)
    for text, depth in texts.items():
        row = round(top + float(shade_of(depth, near, far)) * (bottom - top))
        cv2.line(grey, (gap + strip, row), (2 * gap + strip - 1, row), INK, 1)
        at = (2 * gap + strip + gap // 2, row + capital // 2)
        cv2.putText(grey, text, at, FONT, scale, INK, 1, cv2.LINE_AA)
    bar = np.rint(grey * np.float32((GREYS - 1) / 255)).astype(np.uint8) + np.uint8(SHADES)
    # The depths of the bar's rows, evenly spaced in 1 / depth, go through the very function that coloured the picture.
    rows = 1 / np.linspace(1 / far, 1 / near, bottom - top + 1)
    bar[top + 1 : bottom, gap + 1 : gap + strip - 1] = shades(rows[1:-1, None], near, far)
    return side_by_side(numbers, bar, paper=SHADES + GREYS - 1)


def digits(depth: float) -> str:
    """Three digits of a depth, in no more characters than ``WIDEST`` has."""
    return f'{depth:g}' if 0.1 <= depth < 1000 else f'{depth:.3f}' if depth < 1 else f'{depth:.0f}'


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


def side_by_side(left: np.ndarray, right: np.ndarray, *, paper: int = PAPER) -> np.ndarray:
    """Two pictures side by side, of ``(H, W)`` or ``(H, W, 3)``; the one less high has ``paper`` below it."""
    height, start = max(len(left), len(right)), left.shape[1]
    both = np.empty((height, start + right.shape[1], *left.shape[2:]), np.uint8)
    both[: len(left), :start], both[len(left) :, :start] = left, paper
    both[: len(right), start:], both[len(right) :, start:] = right, paper
    return both
