"""Ray casting against closed forms, and against walking along each ray."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bireal_plugin.depth.street.layout import Solid, lay_out
from bireal_plugin.depth.street.trace import FACE_Z, FAR, GROUND, ROUND, SKY, Hits, cast_rays, trace

SUN = np.array([0.0, -1.0, 0.0])
GREY = (0.5, 0.5, 0.5)
FOCAL, CENTRE = 20.0, (16.0, 8.0)


def look(
    solids: list[Solid], *, origin: tuple[float, float, float] = (0, -1.5, 0), rotation: np.ndarray | None = None
) -> Hits:
    """Hits at the pixel centres of a 16 x 33 image, straight ahead unless turned."""
    turn = np.eye(3) if rotation is None else rotation
    rays = cast_rays((16, 33), focal=FOCAL, centre=CENTRE, origin=np.array(origin), rotation=turn)
    hits = trace(rays, solids, SUN)
    return Hits(*(plane[1::2, 1::2] for plane in (hits.depth, hits.solid, hits.face, hits.light)))


def test_flat_ground_is_focal_times_height_over_rows_below_the_horizon() -> None:
    hits = look([])
    rows = np.arange(16) - CENTRE[1]
    np.testing.assert_allclose(hits.depth[9:], np.repeat((FOCAL * 1.5 / rows[9:])[:, None], 33, 1), rtol=1e-6)
    assert (hits.solid[9:] == GROUND).all()
    assert (hits.solid[:9] == SKY).all()
    assert np.isinf(hits.depth[:9]).all()


def test_ground_ends_at_the_far_distance() -> None:
    hits = look([], origin=(0, -8.0, 0))
    assert np.isinf(hits.depth[8 + int(FOCAL * 8.0 / FAR)]).all()
    assert np.isfinite(hits.depth[8 + int(FOCAL * 8.0 / FAR) + 1]).all()


def test_a_wall_covers_the_pixels_of_its_projection() -> None:
    hits = look([Solid((-2, -3, 10), (1, 0, 12), GREY)])
    across, down = (np.arange(33) - CENTRE[0]) * 10 / FOCAL, (np.arange(16) - CENTRE[1]) * 10 / FOCAL - 1.5
    front = ((down >= -3) & (down <= 0))[:, None] & ((across >= -2) & (across <= 1))[None, :]
    np.testing.assert_array_equal((hits.solid == 0) & (hits.depth == 10), front)
    assert (hits.face[front] == FACE_Z).all()


def test_an_object_stands_further_left_in_the_right_camera_by_its_disparity() -> None:
    wall = Solid((-2, -3, 10), (2, 0, 10), GREY)
    left, right = look([wall]), look([wall], origin=(1.0, -1.5, 0))
    np.testing.assert_array_equal(right.solid[:, :-2] == 0, left.solid[:, 2:] == 0)  # 20 px x 1 m / 10 m


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_nearest_wins_in_any_order(order: tuple[int, ...]) -> None:
    walls = [Solid((-1, -2, z), (1, -1, z + 1), GREY) for z in (20.0, 5.0, 9.0)]
    hits = look([walls[index] for index in order])
    assert order[hits.solid[8, 16]] == 1
    assert hits.depth[8, 16] == 5


def test_a_ball_is_nearest_at_its_middle() -> None:
    hits = look([Solid((-2, -4.5, 8), (2, 1.5, 14), GREY, ball=True)])
    assert hits.depth[8, 16] == pytest.approx(8)
    assert hits.face[8, 16] == ROUND
    x = (18 - CENTRE[0]) / FOCAL
    # (x t / 2)^2 + ((t - 11) / 3)^2 = 1
    first = np.roots([x * x / 4 + 1 / 9, -22 / 9, 121 / 9 - 1]).min()
    assert hits.depth[8, 18] == pytest.approx(first, rel=1e-5)


def test_what_stands_behind_the_camera_is_not_seen() -> None:
    behind = [Solid((-5, -5, -9), (5, 0, -2), GREY), Solid((-5, -5, -9), (5, 0, -2), GREY, ball=True)]
    assert (look(behind).solid < 0).all()


def test_a_shadow_has_the_depth_of_the_ground_it_lies_in() -> None:
    shadow = Solid((-2, 0, 3), (2, 0, 20), GREY)
    hits = look([shadow])
    assert (hits.solid == 0).any()
    np.testing.assert_array_equal(hits.depth, look([]).depth)


def test_a_face_towards_the_sun_is_brighter_than_one_turned_away() -> None:
    rays = cast_rays((16, 33), focal=FOCAL, centre=CENTRE, origin=np.array([0, -1.5, 0]), rotation=np.eye(3))
    wall = [Solid((-9, -9, 10), (9, 0, 12), GREY)]
    towards, away = (trace(rays, wall, np.array([0.0, 0.0, z])).light[17, 33] for z in (-1.0, 1.0))
    assert towards == pytest.approx(1.0)
    assert away == pytest.approx(0.62)


SPAN = st.tuples(st.floats(-6, 5), st.floats(0.5, 5))


@st.composite
def any_solid(draw: st.DrawFn) -> Solid:
    (x, width), (y, height), (z, length) = draw(SPAN), draw(SPAN), draw(SPAN)
    low, high = (x, y - 5, z + 6), (x + width, y - 5 + height, z + 6 + length)
    return Solid(low, high, GREY, ball=draw(st.booleans()))


def inside(solid: Solid, points: np.ndarray, *, grown: float = 0.0) -> np.ndarray:
    """Which of the points (..., 3) lie in the solid, made larger by ``grown`` m on every side."""
    low, high = np.array(solid.low) - grown, np.array(solid.high) + grown
    offset, half = np.abs(points - (low + high) / 2), (high - low) / 2
    return ((offset / half) ** 2).sum(-1) < 1 if solid.ball else (offset < half).all(-1)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(any_solid(), min_size=1, max_size=5), st.floats(-0.5, 0.5))
def test_walking_along_a_ray_meets_nothing_before_the_hit_which_is_on_the_surface(
    solids: list[Solid], heading: float
) -> None:
    origin = np.array([0, -1.5, 0.0])
    assume(not any(inside(solid, origin) for solid in solids))
    cos, sin = np.cos(heading), np.sin(heading)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    hits = look(solids, rotation=turn)
    y, x = np.mgrid[0:16, 0:33]
    direction = np.stack([(x - CENTRE[0]) / FOCAL, (y - CENTRE[1]) / FOCAL, np.ones_like(x)], -1) @ turn.T
    reach = np.minimum(hits.depth, 30.0)[..., None]
    for part in np.linspace(0.02, 0.998, 40):
        walked = origin + part * reach * direction
        # A ray that runs along a face may be taken for outside; 0.1 mm further in it may not.
        assert not any(inside(solid, walked, grown=-1e-4).any() for solid in solids)
    hit_point = origin + reach * direction
    for index, solid in enumerate(solids):
        assert inside(solid, hit_point, grown=1e-3)[hits.solid == index].all()


@pytest.mark.parametrize('seed', range(20))
def test_a_layout_leaves_the_cameras_free_and_stands_on_the_ground(seed: int) -> None:
    street = lay_out(np.random.default_rng(seed))
    path = street.position + np.linspace(0, 0.54, 10)[:, None] * street.rotation[:, 0]
    for solid in street.solids:
        assert not inside(solid, path).any()
        assert solid.high[1] <= 0
    np.testing.assert_allclose(street.rotation @ street.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.norm(street.sun) == pytest.approx(1)
