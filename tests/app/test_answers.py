"""What the page shows, without the page."""

import numpy as np
import pytest
from PIL import Image

from bireal_plugin.app import answers
from bireal_plugin.app.answers import Networks
from bireal_plugin.data.image_file import focal_length
from bireal_plugin.depth.maps import read_depth_png
from bireal_plugin.errors import InputError
from bireal_plugin.zoo import PHOTOGRAPHS, STREETS
from tests.app.networks import photograph, tiny_networks
from tests.depth.tiny_depth import SIZE, file_of, tiny_depth


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    return tiny_networks(tmp_path_factory.mktemp('networks'))


def test_classes_by_name_best_first(networks, tmp_path):
    shown = answers.classes(networks.classifier, photograph(tmp_path, 'green'))
    assert next(iter(shown)) == 'green'
    assert sum(shown.values()) == pytest.approx(1)


def test_depth_is_metric_with_a_focal_length_and_relative_without(networks, tmp_path):
    photo = photograph(tmp_path, 'red')
    metric, relative = (answers.estimate(networks.predictor, photo, focal) for focal in (80.0, None))
    metres = networks.predictor.metres(photo, focal=80.0)
    np.testing.assert_array_equal(metric.depth, metres)
    assert relative.unit == 'rel.'
    row, column = np.argwhere(np.isfinite(metres))[5]
    assert answers.measured(metric, column, row).endswith(f'**{metres[row, column]:.2f} m**')
    assert 'beside' in answers.measured(metric, metres.shape[1], 0)
    with pytest.raises(InputError, match='needs the focal length'):
        answers.points(relative)


def test_points_and_files_are_those_of_the_depth(networks, tmp_path):
    estimate = answers.estimate(networks.predictor, photograph(tmp_path, 'blue'), 80.0)
    points, colours = answers.points(estimate)
    near = (estimate.depth > 0) & (estimate.depth <= 80)
    assert len(points) == len(colours) == near.sum()
    np.testing.assert_array_equal(points[:, 2], estimate.depth[near])
    png, npy, ply = answers.files(estimate, tmp_path)
    np.testing.assert_array_equal(np.load(npy), estimate.depth)
    assert np.abs(read_depth_png(png) - estimate.depth)[near].max() <= 1 / 512
    assert f'element vertex {near.sum()}'.encode() in ply.read_bytes()


def test_many_points_are_thinned_out(networks, tmp_path):
    estimate = answers.estimate(networks.predictor, photograph(tmp_path, 'blue', (600, 400)), 500.0)
    assert answers.MOST_POINTS / 2 < len(answers.points(estimate)[0]) <= answers.MOST_POINTS


@pytest.mark.parametrize(('told', 'expected'), [(26, 26 * 500 / (36**2 + 24**2) ** 0.5), (0, None), (None, None)])
def test_a_photograph_tells_its_focal_length(tmp_path, told, expected):
    exif = Image.Exif()
    if told is not None:
        exif.get_ifd(0x8769)[0xA405] = told
    photo = photograph(tmp_path, 'red', (400, 300), exif=exif)  # a diagonal of 500 px
    assert focal_length(photo) == (None if expected is None else pytest.approx(expected))
    assert answers.suggested_focal(photo) == (None if expected is None else round(expected, 1))


def test_files_say_themselves_what_they_are_for(tmp_path):
    depth = file_of(tiny_depth(tmp_path), 'packed', tmp_path)
    assert Networks.of_files([depth]).predictor.size == SIZE
    both = Networks.of_files([PHOTOGRAPHS, STREETS])
    assert 'church' in both.classifier.classes
    assert both.predictor.baseline == pytest.approx(0.54)
    with pytest.raises(InputError, match='of one kind'):
        Networks.of_files([depth, depth])
    with pytest.raises(InputError, match='needs a network'):
        Networks.of_files([])
