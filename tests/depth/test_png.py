"""PNG files, read back by other readers."""

import cv2
import numpy as np
import pytest
from PIL import Image

from bireal_plugin.depth.png import write_png


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (5, 1), (37, 53), (37, 53, 3)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_pixels_come_back(tmp_path, shape, dtype):
    if dtype == np.uint16 and len(shape) == 3:
        pytest.skip('16-bit colours are never written')
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    path = write_png(tmp_path / 'a.png', pixels)
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[..., ::-1] if len(shape) == 3 else found, pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)


def test_indices_have_their_colours(tmp_path):
    rng = np.random.default_rng(1)
    palette, indices = rng.integers(0, 256, (256, 3), np.uint8), rng.integers(0, 256, (20, 30), np.uint8)
    image = Image.open(write_png(tmp_path / 'a.png', indices, palette=palette))
    assert image.mode == 'P'
    np.testing.assert_array_equal(np.asarray(image.convert('RGB')), palette[indices])
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'a.png'))[..., ::-1], palette[indices])


def test_parts_of_arrays_are_written_as_they_look(tmp_path):
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)[::2, ::-3]
    np.testing.assert_array_equal(cv2.imread(str(write_png(tmp_path / 'a.png', pixels)), -1), pixels)


def test_a_smooth_map_is_no_larger_than_by_libpng(tmp_path):
    coarse = np.random.default_rng(2).uniform(200, 9000, (12, 20)).astype(np.float32)
    pixels = cv2.resize(coarse, (640, 384)).astype(np.uint16)
    ours = write_png(tmp_path / 'a.png', pixels).stat().st_size
    assert ours < 1.05 * len(cv2.imencode('.png', pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def test_indices_of_a_smooth_map_take_less_than_by_pillow(tmp_path):
    coarse = np.random.default_rng(2).uniform(0, 240, (12, 20)).astype(np.float32)
    indices, palette = cv2.resize(coarse, (640, 384)).astype(np.uint8), np.zeros((256, 3), np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / 'pillow.png', compress_level=1)
    ours = write_png(tmp_path / 'a.png', indices, palette=palette).stat().st_size
    assert ours < 0.7 * (tmp_path / 'pillow.png').stat().st_size
