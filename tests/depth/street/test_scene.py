"""The rendered street: its geometry against formulas, and its pictures against its geometry."""

import numpy as np
import pytest

from bireal_plugin.depth.street.scene import Scene, render_street
from bireal_plugin.errors import InputError

SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope='module')
def scenes() -> dict[int, Scene]:
    return {seed: render_street(seed) for seed in SEEDS}


def sample_row_wise(image: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Linear interpolation of an (H, W) image at (H, W) real column numbers of the same row."""
    grid = np.arange(image.shape[1])
    return np.stack([np.interp(columns[row], grid, image[row]) for row in range(image.shape[0])])


def visible_in_right(scene: Scene) -> np.ndarray:
    """Left pixels (H, W) whose point the right camera sees too: inside its image, and nothing nearer in the way."""
    columns = np.arange(scene.left.shape[1]) - scene.disparity_left
    rows = np.arange(scene.left.shape[0])[:, None]
    inside = (columns >= 0) & (scene.depth_left > 0)
    whole = np.floor(np.clip(columns, 0, scene.left.shape[1] - 2)).astype(int)
    near = np.ones_like(inside)
    for column in (whole, whole + 1):
        there = scene.depth_right[rows, column]
        near &= np.abs(np.divide(there, scene.depth_left, where=inside, out=np.zeros_like(there)) - 1) < 0.05
    return inside & near


def photometric_error(scene: Scene, disparity: np.ndarray, where: np.ndarray) -> float:
    """Mean |left - right at x - disparity| in grey levels of the green channel, the right image's gain taken out."""
    columns = np.arange(scene.left.shape[1]) - disparity
    left = scene.left[..., 1].astype(float)
    warped = sample_row_wise(scene.right[..., 1].astype(float), columns)
    gain = left[where].mean() / warped[where].mean()
    return float(np.abs(left - gain * warped)[where].mean())


@pytest.mark.parametrize('seed', SEEDS)
def test_the_right_image_warped_by_the_disparity_is_the_left_image(scenes: dict[int, Scene], seed: int) -> None:
    scene = scenes[seed]
    seen = visible_in_right(scene)
    assert seen.mean() > 0.6
    error = photometric_error(scene, scene.disparity_left, seen)
    assert error < 5
    for wrong in (0 * scene.disparity_left, -scene.disparity_left, 0.7 * scene.disparity_left):
        assert photometric_error(scene, wrong, seen) > 2 * error


@pytest.mark.parametrize('seed', SEEDS)
def test_disparity_is_focal_times_baseline_over_depth(scenes: dict[int, Scene], seed: int) -> None:
    scene = scenes[seed]
    seen = scene.depth_left > 0
    expected = 0.58 * 320 * 0.54 / scene.depth_left[seen].astype(np.float64)
    np.testing.assert_allclose(scene.disparity_left[seen], expected, rtol=1e-6)
    assert (scene.disparity_left[~seen] == 0).all()


@pytest.mark.parametrize('seed', SEEDS)
def test_the_ground_lies_where_the_horizon_formula_says_and_hides_all_below(
    scenes: dict[int, Scene], seed: int
) -> None:
    scene = scenes[seed]
    row = (np.arange(96) - scene.camera.cy) / scene.camera.focal
    fall = row * np.cos(scene.street.pitch) - np.sin(scene.street.pitch)
    below = fall > 1.65 / 150
    ground = np.broadcast_to((1.65 / fall[below])[:, None], (below.sum(), 320))
    depth = scene.depth_left[below]
    assert (depth > 0).all()
    assert (depth <= ground * (1 + 1e-5)).all()
    assert np.isclose(depth, ground, rtol=1e-5).mean() > 0.25


@pytest.mark.parametrize('seed', SEEDS)
def test_every_left_point_is_in_the_right_image_at_its_disparity_or_behind_something(
    scenes: dict[int, Scene], seed: int
) -> None:
    scene = scenes[seed]
    columns = np.arange(320) - scene.disparity_left
    seen = (scene.depth_left > 0) & (columns >= 0)
    low = np.floor(columns).astype(int).clip(0, 318)
    rows = np.arange(96)[:, None]
    inverse = 1 / np.where(scene.depth_right > 0, scene.depth_right, np.inf)
    # Inverse depth is linear on a plane: the right camera sees the point itself, or what is nearer.
    nearest = np.maximum(inverse[rows, low], inverse[rows, low + 1])
    assert (nearest[seen] >= 0.97 / scene.depth_left[seen]).mean() > 0.985


@pytest.mark.parametrize('seed', SEEDS)
def test_sky_is_above_the_horizon_and_does_not_move(scenes: dict[int, Scene], seed: int) -> None:
    scene = scenes[seed]
    sky = (scene.depth_left == 0) & (scene.depth_right == 0)
    horizon = scene.camera.cy + scene.camera.focal * np.tan(scene.street.pitch)
    # Ground further than 150 m is haze as well, which is 2.04 rows under the horizon.
    assert np.nonzero(scene.depth_left == 0)[0].max() < horizon + 2.1
    inner = sky & np.roll(sky, 1, 1) & np.roll(sky, -1, 1) & np.roll(sky, 1, 0) & np.roll(sky, -1, 0)
    inner[[0, -1]] = False
    assert inner.any()
    assert photometric_error(scene, np.zeros((96, 320)), inner) < 4


def test_a_long_lens_sees_no_sky() -> None:
    scene = render_street(0, (60, 180), focal=4000.0)
    assert np.isfinite(scene.depth_left).all()
    assert scene.left.std() > 1


def test_a_seed_is_one_street(scenes: dict[int, Scene]) -> None:
    again = render_street(1)
    for name in ('left', 'right', 'depth_left', 'depth_right', 'disparity_left'):
        np.testing.assert_array_equal(getattr(again, name), getattr(scenes[1], name))


def test_different_seeds_are_different_streets(scenes: dict[int, Scene]) -> None:
    for one in SEEDS:
        for other in SEEDS[:one]:
            assert np.abs(scenes[one].depth_left - scenes[other].depth_left).mean() > 1


def test_layout_does_not_depend_on_the_size(scenes: dict[int, Scene]) -> None:
    # With three times the pixels, every third one's centre is the centre of a small picture's pixel.
    large = render_street(2, (288, 960))
    same = np.isclose(large.depth_left[1::3, 1::3], scenes[2].depth_left, rtol=1e-4)
    assert same.mean() > 0.999


def test_a_wider_baseline_moves_only_the_right_camera(scenes: dict[int, Scene]) -> None:
    wide = render_street(3, baseline=1.08)
    np.testing.assert_array_equal(wide.left, scenes[3].left)
    np.testing.assert_array_equal(wide.depth_left, scenes[3].depth_left)
    np.testing.assert_allclose(wide.disparity_left, 2 * scenes[3].disparity_left, rtol=1e-6)
    seen = visible_in_right(wide)
    assert photometric_error(wide, wide.disparity_left, seen) < 0.5 * photometric_error(
        wide, scenes[3].disparity_left, seen
    )


@pytest.mark.parametrize(('height', 'width'), [(96, 320), (40, 133), (160, 608)])
def test_shapes_types_and_camera(height: int, width: int) -> None:
    scene = render_street(7, (height, width))
    assert scene.left.shape == scene.right.shape == (height, width, 3)
    assert scene.left.dtype == scene.right.dtype == np.uint8
    for plane in (scene.depth_left, scene.depth_right, scene.disparity_left):
        assert plane.shape == (height, width)
        assert plane.dtype == np.float32
        assert np.isfinite(plane).all()
    assert (scene.camera.focal, scene.camera.width, scene.camera.baseline) == (0.58 * width, width, 0.54)


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (dict(seed=-1), 'seed=-1'),
        (dict(seed=0, size=(0, 320)), 'size='),
        (dict(seed=0, baseline=0.0), 'baseline=0.0'),
        (dict(seed=0, focal=-3.0), 'focal=-3.0'),
    ],
)
def test_impossible_numbers_are_named(arguments: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        render_street(**arguments)
