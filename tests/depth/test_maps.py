"""16-bit depth maps."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bireal_plugin.depth.maps import read_depth_png, resized_disparity, write_depth_png
from bireal_plugin.errors import InputError


@given(stored=arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_every_stored_value_survives(tmp_path_factory, stored):
    path = tmp_path_factory.mktemp('png') / 'depth.png'
    write_depth_png(path, stored.astype(np.float32) / 256)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), stored)
    np.testing.assert_array_equal(read_depth_png(path), stored.astype(np.float32) / 256)


@given(metres=st.floats(1 / 256, 255.5, width=32))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_depth_is_right_to_half_a_unit(tmp_path_factory, metres):
    path = write_depth_png(tmp_path_factory.mktemp('png') / 'depth.png', np.array([[metres]]))
    assert abs(read_depth_png(path)[0, 0] - metres) <= 0.5 / 256


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('none', [np.inf, -np.inf, np.nan, 0.0, -2.0, 256.0, 300.0, 1e30])
def test_no_depth_and_depth_that_the_format_cannot_hold_are_stored_as_0(tmp_path, none, dtype):
    path = write_depth_png(tmp_path / 'depth.png', np.array([[none, 5.0]], dtype))
    assert read_depth_png(path).tolist() == [[0.0, 5.0]]


def test_the_ends_of_the_range_are_held(tmp_path):
    depth = np.array([[65535 / 256, 1e-6]])
    stored = cv2.imread(str(write_depth_png(tmp_path / 'depth.png', depth)), cv2.IMREAD_UNCHANGED)
    assert stored.tolist() == [[65535, 1]]  # 1, since 0 would be none


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path):
    path = write_depth_png(tmp_path / 'depth.png', np.ones((2, 2)))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r'depth\.png'):
        write_depth_png(path, np.ones((2, 2, 3)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r'missing.*cannot be written: No such file or directory'):
        write_depth_png(tmp_path / 'missing' / 'depth.png', np.ones((2, 2)))
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'depth\.png'):
        write_depth_png(tmp_path / 'depth.jpg', np.ones((2, 2)))


@pytest.mark.parametrize('picture', [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint16)])
def test_a_picture_that_is_no_depth_map_is_told(tmp_path, picture):
    cv2.imwrite(str(tmp_path / 'depth.png'), picture)
    with pytest.raises(InputError, match='16-bit'):
        read_depth_png(tmp_path / 'depth.png')


@pytest.mark.parametrize('content', [b'', b'no picture'])
def test_a_foreign_file_is_told(tmp_path, content):
    (tmp_path / 'depth.png').write_bytes(content)
    with pytest.raises(InputError, match=r'depth\.png'):
        read_depth_png(tmp_path / 'depth.png')


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match='missing'):
        read_depth_png(tmp_path / 'depth.png')


def test_official_annotated_depth(shared_data):
    path = shared_data / 'kitti' / 'annotated' / 'depth' / '0000000005.png'
    depth = read_depth_png(path)
    known = depth > 0
    assert depth.dtype == np.float32
    assert 0.1 < known.mean() < 0.4  # about 20 % of the pixels have a value
    assert 1 < depth[known].min() < depth.max() < 90


def test_a_resized_disparity_is_in_pixels_of_the_new_width():
    ramp = np.tile(np.arange(8.0), (4, 1))
    wider = resized_disparity(ramp, (8, 16))
    assert wider.dtype == np.float32
    # Bilinear between pixel centres: column j of the wide image lies at (j + 0.5) / 2 - 0.5 of the narrow one.
    centres = np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7)
    np.testing.assert_allclose(wider, np.tile(2 * centres, (8, 1)), rtol=1e-6)
    np.testing.assert_array_equal(resized_disparity(ramp, (4, 8)), ramp)
