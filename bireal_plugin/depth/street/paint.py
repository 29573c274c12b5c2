"""Colours for the rendered street: albedo, patterns (windows, markings, lamps) and texture, laid on in world metres.

Texture is fixed to the surfaces, so both views see the same one and nothing but parallax moves it.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from bireal_plugin.depth.street.layout import BUILDING, CAR, GLASS, Street
from bireal_plugin.depth.street.trace import FACE_X, FACE_Y, FACE_Z, SKY, Hits, Rays

GRAINS = (0.3, 0.08)  # m, of the two layers of texture; each carries features of one and of four grains
HAZE = np.array([0.80, 0.84, 0.88], np.float32)
BLUE = np.array([0.36, 0.56, 0.86], np.float32)
HAZE_LENGTH = 180.0  # m, over which the haze takes 1 - 1/e of a surface's own colour
# Rows of ``FIXED_COLOURS``; in one scene's table they follow the solids' own colours.
ASPHALT, PAVEMENT, JOINT, MARKING, FRAME, PANE, GLAZING, LAMP, PLATE, TYRE = range(10)
FIXED_COLOURS = (
    *((0.36, 0.36, 0.38), (0.58, 0.56, 0.52), (0.42, 0.40, 0.37), (0.88, 0.88, 0.84), (0.86, 0.85, 0.82)),
    *((0.19, 0.22, 0.26), (0.16, 0.19, 0.22), (0.75, 0.08, 0.05), (0.85, 0.85, 0.80), (0.06, 0.06, 0.07)),
)


def paint(street: Street, rays: Rays, hits: Hits) -> np.ndarray:
    """Picture (h, w, 3) float32, RGB in 0..1, of the surfaces that ``trace`` found."""
    sky = hits.solid == SKY
    depth = np.where(sky, np.float32(1), hits.depth)
    point = rays.origin[:, None, None] + depth * rays.direction
    table = np.array([solid.colour for solid in street.solids] + list(FIXED_COLOURS), np.float32)
    row, gain = _patterns(street, point, hits)
    gain *= hits.light
    gain *= 1 + _grain(rays, hits, point, depth)
    veil = np.exp(depth / -HAZE_LENGTH)
    gain *= veil
    picture = table.take(row, axis=0)
    picture *= gain[..., None]
    picture += HAZE * (1 - veil)[..., None]
    if sky.any():
        rows = slice(0, int(np.nonzero(sky.any(axis=1))[0].max()) + 1)
        picture[rows][sky[rows]] = _sky(rays.direction[:, rows])[sky[rows]]
    return np.clip(picture, 0, 1, out=picture)


def _patterns(street: Street, point: np.ndarray, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Row of the colour table (h, w) and brightness (h, w) float32 of every point (3, h, w) in world metres."""
    fixed = len(street.solids)
    # GROUND = -1 and SKY = -2 index the end of the table of materials; ground and sky are painted over anyway.
    material = np.array([solid.material for solid in street.solids] + [-1, -1], np.int8)[hits.solid]
    row = hits.solid.astype(np.int16)
    gain = np.ones(row.shape, np.float32)
    _ground(street, row, point, hits.solid < 0, fixed)
    upright = (hits.face == FACE_X) | (hits.face == FACE_Z)
    _facades(row, gain, point, hits, upright & (material == BUILDING), fixed)
    _cars(street, row, point, hits, upright & (material == CAR), fixed)
    row[upright & (material == GLASS) & (point[1] % np.float32(0.5) < 0.43)] = fixed + GLAZING
    return row, gain


def _ground(street: Street, row: np.ndarray, point: np.ndarray, where: np.ndarray, fixed: int) -> None:
    """Pavement with joints every 1.5 m, edge lines, and a dashed line in the middle of the road."""
    x, z = point[0], point[2]
    across = np.abs(x)
    row[where] = fixed + ASPHALT
    off_road = where & (across > street.road_half_width)
    row[off_road] = fixed + PAVEMENT
    row[off_road & ((_within(z, 1.5) < 0.12) | (across < street.road_half_width + 0.15))] = fixed + JOINT
    edge = np.abs(across - (street.road_half_width - 0.3)) < 0.08
    row[where & (edge | ((across < 0.09) & (_within(z, 6.0) < 3)))] = fixed + MARKING


def _facades(row: np.ndarray, gain: np.ndarray, point: np.ndarray, hits: Hits, where: np.ndarray, fixed: int) -> None:
    """A window in a light frame every 2.4 m and storey of 3 m, its pane bright or dark; a ledge under each storey."""
    house = hits.solid.astype(np.float32)
    along = np.where(hits.face == FACE_X, point[2], point[0]) + np.float32(0.37) * house
    up = -point[1]
    across, rise = np.abs(_within(along, 2.4) - 1.2), _within(up, 3.0)
    half = np.abs(rise - 1.6)
    frame = where & (across < 0.62) & (half < 0.82)
    pane = frame & (across < 0.5) & (half < 0.7)
    gain[where & ~frame & (rise < 0.15)] = 0.75
    row[frame] = fixed + FRAME
    row[pane] = fixed + PANE
    # A cheap hash of the window's place, so that panes differ and both views agree.
    place = np.floor(along[pane] / 2.4) * 12.99 + np.floor(up[pane] / 3.0) * 78.23 + house[pane] * 3.7
    gain[pane] = 1 + 0.7 * np.modf(np.sin(place) * 43.76)[0]


def _cars(street: Street, row: np.ndarray, point: np.ndarray, hits: Hits, where: np.ndarray, fixed: int) -> None:
    """Tyres and the dark under the sill below 0.28 m; red lamps and a plate on the face towards the camera."""
    up = -point[1]
    back = where & (hits.face == FACE_Z)
    middle = np.array([(solid.low[0] + solid.high[0]) / 2 for solid in street.solids] + [0, 0], np.float32)
    across = np.abs(point[0] - middle[hits.solid])
    row[back & (np.abs(up - 0.72) < 0.09) & (np.abs(across - 0.64) < 0.15)] = fixed + LAMP
    row[back & (np.abs(up - 0.48) < 0.07) & (across < 0.26)] = fixed + PLATE
    row[where & (up < 0.28)] = fixed + TYRE


def _within(position: np.ndarray, period: float) -> np.ndarray:
    """``position`` modulo ``period``, in 0 .. period; several times faster than numpy's own."""
    turns = np.floor(position * np.float32(1 / period))
    return position - turns * np.float32(period)


@lru_cache(maxsize=1)
def grain_tile() -> np.ndarray:
    """Periodic noise (256, 256) float32 of mean 0: points, and blots four points wide; all texture is cut from it."""
    points = np.random.default_rng(20_171).normal(size=(256, 256))
    blots = sum(np.roll(points, (down, across), axis=(0, 1)) for down in range(4) for across in range(4)) / 4
    return (points + np.roll(blots, (128, 128), axis=(0, 1))).astype(np.float32)


def _grain(rays: Rays, hits: Hits, point: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Relative brightness (h, w) of the texture, each layer faded where a ray is wider than its grain."""
    own = hits.solid.astype(np.float32) * np.float32(17.3)
    first = np.where(hits.face == FACE_X, point[2], point[0]) + own
    second = np.where(hits.face == FACE_Y, point[2], point[1]) + own
    total = np.zeros_like(depth)
    for grain in GRAINS:
        step = np.float32(1 / grain)
        noise = cv2.remap(grain_tile(), first * step, second * step, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        weight = np.clip(np.float32(1.5) - depth * (step / np.float32(rays.focal)), 0, 1)
        total += weight * noise
    total *= np.float32(0.10)
    return total


def _sky(direction: np.ndarray) -> np.ndarray:
    """Colours (h, w, 3) of rays (3, h, w) that leave the street: blue above, haze at the horizon, some cloud."""
    rise = np.clip(-direction[1] / np.hypot(direction[0], direction[2]), 0, 1)
    mix = np.clip(rise * 4, 0, 1)[..., None]
    across, up = direction[0] * np.float32(9), direction[1] * np.float32(22)
    clouds = cv2.remap(grain_tile(), across, up, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return HAZE * (1 - mix) + BLUE * mix + np.float32(0.03) * clouds[..., None]
