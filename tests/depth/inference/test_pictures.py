"""Colours of depth and the bar that explains them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bireal_plugin.depth.inference.pictures import (
    MAPS,
    RunningRange,
    bar_labels,
    depth_range,
    painted,
    palette,
    shade_of,
    shades,
    side_by_side,
    with_bar,
)
from bireal_plugin.errors import InputError

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def coloured(depth, near, far, *, colours='magma'):
    return painted(shades(depth, near, far), colours)


@pytest.mark.parametrize('colours', MAPS)
def test_the_nearer_the_brighter(colours):
    depth = np.linspace(5, 50, 40, dtype=np.float32)[None]
    light = coloured(depth, 5, 50, colours=colours)[0] @ LUMINANCE
    assert np.diff(light).max() < 0.5  # of 8-bit colours, rounded
    assert light[0] - light[-1] > 150


def test_near_is_warm_and_far_is_not():
    (near, far), _ = coloured(np.array([[7.0, 50.0]] * 2), 5, 50)
    assert int(near[0]) - near[2] > 100  # more red than blue
    assert far[0] <= far[2]


def test_beyond_the_range_the_colours_end():
    row = coloured(np.array([[1.0, 5.0, 50.0, 500.0, np.inf]]), 5, 50)[0]
    np.testing.assert_array_equal(row[0], row[1])
    np.testing.assert_array_equal(row[2], row[3])
    np.testing.assert_array_equal(row[2], row[4])


def test_no_depth_is_grey():
    row = coloured(np.array([[0.0, -1.0, np.nan]]), 5, 50)[0]
    assert (row == 128).all()


def test_the_range_leaves_out_extremes_and_what_has_no_depth():
    depth = np.concatenate([np.arange(1.0, 102.0), [np.inf, np.nan, 0, -3]])
    assert depth_range(depth) == (3.0, 96.0)


def test_a_flat_map_has_a_range_around_it():
    near, far = depth_range(np.full((3, 3), 10.0))
    assert near < 10 < far


def test_without_any_depth_there_is_no_range():
    with pytest.raises(InputError, match='no pixel has a depth'):
        depth_range(np.full((3, 3), np.inf))


def bar_of(near, far, *, height=200):
    """The colour strip alone, top to bottom, without its frame."""
    bar = painted(with_bar(np.zeros((height, 10), np.uint8), near, far, unit='m'), 'magma')[:, 10:]
    strip = bar[:, 7]
    coloured_rows = np.flatnonzero(np.ptp(strip.astype(int), axis=1) > 8)
    return strip[coloured_rows[0] : coloured_rows[-1] + 1]


def test_the_bar_runs_from_far_at_the_top_to_near_at_the_bottom():
    light = bar_of(4, 80) @ LUMINANCE
    assert light[-1] - light[0] > 150
    assert np.diff(light).min() > -0.5


def test_a_depth_has_the_colour_at_its_place_on_the_bar():
    strip = bar_of(4, 80, height=400)
    for depth in (5.0, 8.0, 12.0, 20.0):
        colour = coloured(np.array([[depth]]), 4, 80)[0, 0].astype(int)
        place = np.abs(strip.astype(int) - colour).sum(1).argmin() / (len(strip) - 1)
        assert abs(place - (1 / depth - 1 / 80) / (1 / 4 - 1 / 80)) < 0.02


def test_the_picture_is_left_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (90, 70), np.uint8)
    np.testing.assert_array_equal(with_bar(picture, 4, 80, unit='m')[:, :70], picture)


@pytest.mark.parametrize('size', [(1, 1), (20, 30), (375, 1242)])
def test_pictures_of_any_size_stand_side_by_side(size):
    image = np.full((*size, 3), 77, np.uint8)
    both = side_by_side(image, painted(with_bar(image[:, :, 0], 4, 80, unit='m'), 'magma'))
    height, width = size
    np.testing.assert_array_equal(both[:height, :width], 77)
    np.testing.assert_array_equal(both[:height, width : 2 * width], np.broadcast_to(palette('magma')[77], image.shape))
    assert (both[height:, : 2 * width] == 255).all()


def test_frames_of_any_range_have_one_size():
    numbers = np.zeros((90, 70), np.uint8)
    ranges = [(0.512, 9.9), (9.87, 10.1), (3.0, 120.0), (0.0163, 0.111), (7.0, 1500.0), (1.11, 1.88)]
    assert len({with_bar(numbers, *ends, unit='rel.').shape for ends in ranges}) == 1


positive = st.floats(0.05, 200)


@given(near=positive, ratio=st.floats(1.05, 100), pixels=st.integers(60, 1000))
@settings(deadline=None, max_examples=200, derandomize=True)
def test_labels_lie_in_the_range_and_do_not_touch(near, ratio, pixels):
    labels = np.array(bar_labels(near, near * ratio, pixels=pixels, spacing=20))
    assert labels.min() >= near * 0.99
    assert labels.max() <= near * ratio * 1.01
    places = np.sort(shade_of(labels, near, near * ratio)) * pixels
    assert len(places) >= 2
    assert np.diff(places).min() >= 20 - 0.02 * pixels  # the ends are rounded to three digits


def frame(near, far):
    """A map whose range is from ``near`` to ``far``, about."""
    return (1 / np.linspace(1 / near, 1 / far, 10_000)).reshape(100, 100)


def test_black_frames_at_the_start_of_a_video_are_outvoted():
    ranges = RunningRange(10.0)
    for _ in range(3):
        ranges.after(frame(0.5, 0.6))
    for _ in range(5):
        found = ranges.after(frame(4, 60))
    assert found == depth_range(frame(4, 60))


def test_colours_move_slowly_and_an_odd_frame_moves_nothing():
    ranges = RunningRange(30.0)
    steady = [ranges.after(frame(4, 60)) for _ in range(60)][-1]
    assert ranges.after(frame(40, 600)) == steady
    moving = [ranges.after(frame(4 + 0.02 * step, 60)) for step in range(100)]
    steps = np.diff([near for near, _ in moving])
    assert steps.max() < 0.05
    assert moving[-1][0] > 5


def test_a_frame_without_depth_takes_the_range_before_it():
    ranges = RunningRange(10.0)
    with pytest.raises(InputError, match='no pixel has a depth'):
        ranges.after(np.full((3, 3), np.inf))
    first = ranges.after(frame(4, 60))
    assert ranges.after(np.full((3, 3), np.inf)) == first


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_every_shade_is_that_of_its_formula(dtype):
    depth = np.linspace(0.5, 120, 5000, dtype=dtype).reshape(50, 100)
    numbers = np.rint(240 * np.clip((1 / depth - 1 / 80) / (1 / 4 - 1 / 80), 0, 1)).astype(int)
    found = shades(depth, 4, 80).astype(int)
    assert (found != numbers).mean() < 2e-3  # a rounding apart
    assert abs(found - numbers).max() <= 1


def test_the_colours_are_those_of_the_map_and_greys():
    colours = palette('magma').astype(int)
    full = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_MAGMA)[:, 0, ::-1]
    np.testing.assert_array_equal(colours[[0, 120, 240]], full[[0, 128, 255]])
    np.testing.assert_array_equal(colours[[241, 248, 255]], [[0] * 3, [128] * 3, [255] * 3])
    assert len(np.unique(colours[:241], axis=0)) == 241


def test_the_range_of_a_large_map_is_that_of_all_its_pixels():
    depth = np.random.default_rng(0).gamma(4, 5, (1080, 1920)).astype(np.float32)
    assert depth_range(depth) == pytest.approx(np.percentile(depth, (2, 95)), rel=0.01)
