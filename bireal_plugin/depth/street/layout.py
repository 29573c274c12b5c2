"""Layout of a rendered street: boxes and tree crowns on a flat ground, drawn at random from one generator.

World coordinates in metres: x to the right across the road, y DOWN (the ground is y = 0, a roof has y < 0), z along the
road away from the camera, which stands near x = lane, z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# Materials; ``paint.py`` gives buildings windows, cars lamps and tyres, and glass its panes.
ROAD, BUILDING, CAR, GLASS, PLAIN, LEAVES = range(6)
END_OF_STREET = 110.0  # m; nothing but ground stands beyond

Colour = tuple[float, float, float]

CAR_PAINTS: tuple[Colour, ...] = (
    *((0.75, 0.10, 0.10), (0.12, 0.25, 0.60), (0.85, 0.85, 0.85), (0.12, 0.12, 0.14)),
    *((0.50, 0.52, 0.55), (0.80, 0.65, 0.15), (0.15, 0.40, 0.25)),
)
WALL_PAINTS: tuple[Colour, ...] = (
    *((0.70, 0.45, 0.35), (0.80, 0.74, 0.60), (0.62, 0.62, 0.62)),
    *((0.85, 0.80, 0.74), (0.58, 0.40, 0.33), (0.60, 0.66, 0.70)),
)


@dataclass(frozen=True)
class Solid:
    """An axis-aligned box from ``low`` to ``high`` (m), or with ``ball`` the ellipsoid inscribed in it."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    colour: Colour
    material: int = PLAIN
    ball: bool = False


@dataclass
class Street:
    """One layout: road and camera in m and radians, and solids.

    A positive ``heading`` looks to the right, a positive ``pitch`` up; ``sun`` (3,) is the unit vector to the sun.
    """

    road_half_width: float
    pavement_width: float
    camera_height: float
    camera_x: float
    heading: float
    pitch: float
    sun: np.ndarray
    solids: list[Solid] = field(default_factory=list)

    @property
    def rotation(self) -> np.ndarray:
        """Axes of the camera (x right, y down, z forward) as columns in world coordinates, (3, 3) float64."""
        cos_h, sin_h = np.cos(self.heading), np.sin(self.heading)
        cos_p, sin_p = np.cos(self.pitch), np.sin(self.pitch)
        turn = np.array([[cos_h, 0, sin_h], [0, 1, 0], [-sin_h, 0, cos_h]])
        tilt = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
        return turn @ tilt

    @property
    def position(self) -> np.ndarray:
        """Centre of the left camera in world coordinates (m), (3,)."""
        return np.array([self.camera_x, -self.camera_height, 0.0])


def lay_out(rng: np.random.Generator) -> Street:
    """A street: buildings, hedges, trees and poles on both sides, parked cars, traffic in both lanes."""
    half = rng.uniform(3.2, 5.5)
    sun = np.array([rng.uniform(-0.8, 0.8), -1.0, rng.uniform(-0.9, 0.1)])
    street = Street(
        road_half_width=half,
        pavement_width=rng.uniform(1.5, 3.0),
        camera_height=1.65,
        camera_x=half * rng.uniform(0.2, 0.65),
        heading=np.deg2rad(rng.uniform(-5.0, 5.0)),
        pitch=np.deg2rad(rng.uniform(-1.5, 1.5)),
        sun=sun / np.linalg.norm(sun),
    )
    for side in (-1, 1):
        _line_of_houses(street, rng, side)
        _poles_and_trees(street, rng, side)
        z = rng.uniform(7.0, 25.0)
        while z < 70.0:  # parked cars
            _car(street, rng, side * (half - 0.95), z)
            z += rng.uniform(6.0, 25.0)
    if rng.random() < 0.6:  # a car ahead in the camera's lane
        _car(street, rng, half * 0.35, rng.uniform(9.0, 45.0))
    for start in (8.0, 30.0):  # oncoming ones
        if rng.random() < 0.5:
            _car(street, rng, -half * 0.35, start + rng.uniform(0.0, 18.0))
    if rng.random() < 0.4:
        distance = rng.uniform(60.0, END_OF_STREET)
        street.solids.append(_box(0, distance + 5, (40, rng.uniform(6, 14), 10), _paint(rng, WALL_PAINTS), BUILDING))
    return street


def _box(x: float, z: float, size: Colour, colour: Colour, material: int = PLAIN, *, lift: float = 0.0) -> Solid:
    """A box of ``size`` (width, height, length) centred at (x, z), its underside ``lift`` above the ground."""
    width, height, length = size
    return Solid(
        (x - width / 2, -lift - height, z - length / 2), (x + width / 2, -lift, z + length / 2), colour, material
    )


def _paint(rng: np.random.Generator, paints: tuple[Colour, ...]) -> Colour:
    red, green, blue = paints[rng.integers(len(paints))]
    gain = rng.uniform(0.8, 1.1)
    return red * gain, green * gain, blue * gain


def _line_of_houses(street: Street, rng: np.random.Generator, side: int) -> None:
    kerb = street.road_half_width + street.pavement_width
    z = rng.uniform(3.0, 6.0)
    while z < END_OF_STREET:
        length = rng.uniform(8.0, 18.0)
        setback = rng.choice([0.0, rng.uniform(1.0, 7.0)])
        height, thick = rng.uniform(4.0, 15.0), 10.0
        x = side * (kerb + setback + thick / 2)
        street.solids.append(_box(x, z + length / 2, (thick, height, length), _paint(rng, WALL_PAINTS), BUILDING))
        if setback > 1.5:
            green = (0.20, rng.uniform(0.35, 0.45), 0.15)
            hedge = (0.6, rng.uniform(0.7, 1.5), length)
            street.solids.append(_box(side * (kerb + 0.4), z + length / 2, hedge, green, LEAVES))
        z += length + rng.choice([0.0, 0.0, rng.uniform(2.0, 12.0)])


def _poles_and_trees(street: Street, rng: np.random.Generator, side: int) -> None:
    x = side * (street.road_half_width + 0.5)
    z = rng.uniform(8.0, 18.0)
    while z < 80.0:
        if rng.random() < 0.55:
            tall, grey = rng.uniform(4.5, 7.0), rng.uniform(0.25, 0.5)
            street.solids.append(_box(x, z, (0.18, tall, 0.18), (grey, grey, grey)))
            if rng.random() < 0.5:
                plate = (0.75, 0.75, 0.05)
                colour = ((0.8, 0.1, 0.1), (0.1, 0.2, 0.7), (0.9, 0.8, 0.1))[rng.integers(3)]
                street.solids.append(_box(x, z - 0.12, plate, colour, lift=2.1))
        else:
            trunk, wide, tall = rng.uniform(1.8, 2.8), rng.uniform(1.2, 2.0), rng.uniform(1.2, 2.2)
            street.solids.append(_box(x, z, (0.3, trunk + 0.4, 0.3), (0.33, 0.24, 0.16)))
            leaves = (rng.uniform(0.18, 0.4), rng.uniform(0.38, 0.5), 0.14)
            low, high = (x - wide, -trunk - 2 * tall, z - wide), (x + wide, -trunk, z + wide)
            street.solids.append(Solid(low, high, leaves, LEAVES, ball=True))
        z += rng.uniform(9.0, 22.0)


def _car(street: Street, rng: np.random.Generator, x: float, z: float) -> None:
    """A car (or, now and then, a van) at (x, z), with the dark contact shadow it casts on the road."""
    paint = _paint(rng, CAR_PAINTS)
    if rng.random() < 0.15:
        width, length = 2.0, rng.uniform(4.8, 6.5)
        street.solids.append(_box(x, z, (width, rng.uniform(2.0, 2.7), length), paint, CAR))
    else:
        width, length = rng.uniform(1.65, 1.85), rng.uniform(3.7, 4.6)
        sill = rng.uniform(0.85, 0.98)
        street.solids.append(_box(x, z, (width, sill, length), paint, CAR))
        cabin = (width - 0.2, rng.uniform(0.48, 0.62), length * 0.5)
        street.solids.append(_box(x, z + rng.uniform(-0.3, 0.3), cabin, paint, GLASS, lift=sill))
    street.solids.append(_box(x, z, (width + 0.5, 0.0, length + 0.5), (0.12, 0.12, 0.13), ROAD))
