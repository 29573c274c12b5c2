"""Image files of every kind, read as RGB."""

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from bireal_plugin.data.image_file import allow_pixels, image_size, is_image_name, read_rgb
from bireal_plugin.errors import InputError


def rgb(path, **options):
    return np.asarray(read_rgb(path, **options))


RGB = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)


def test_rgb_is_read_as_it_is(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(rgb(tmp_path / 'a.png'), RGB)


def test_grey_becomes_three_equal_channels(tmp_path):
    Image.fromarray(RGB[:, :, 0]).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(rgb(tmp_path / 'a.png'), RGB[:, :, [0, 0, 0]])


def test_transparency_is_dropped(tmp_path):
    Image.fromarray(np.dstack([RGB, RGB[:, :, 0]])).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(rgb(tmp_path / 'a.png'), RGB)


def test_a_palette_is_looked_up(tmp_path):
    few = RGB // 128 * 255
    Image.fromarray(few).quantize(8).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(rgb(tmp_path / 'a.png'), few)


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_16_bit_grey_is_scaled_to_8(tmp_path, suffix):
    values = np.array([[0, 257, 65535, 32768]], np.uint16)
    cv2.imwrite(str(tmp_path / f'a{suffix}'), values)
    assert rgb(tmp_path / f'a{suffix}')[0, :, 0].tolist() == [0, 1, 255, 128]


def test_16_bit_colour_is_scaled_to_8(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), RGB[:, :, ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(rgb(tmp_path / 'a.png'), RGB)


def test_a_photo_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned to the left: the top of the scene is the image's right side
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=exif)
    np.testing.assert_array_equal(rgb(tmp_path / 'a.png'), np.rot90(RGB, -1))


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('share', [0.0, 0.3, 0.9])
def test_a_truncated_image_is_named(tmp_path, suffix, share):
    path = tmp_path / f'a{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=f'{path} cannot be decoded'):
        rgb(path)


def test_real_numbers_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / 'a.tif')
    with pytest.raises(InputError, match='real numbers'):
        rgb(tmp_path / 'a.tif')


def test_an_orientation_is_ignored_where_pixels_are_wanted_as_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=exif)
    np.testing.assert_array_equal(rgb(tmp_path / 'a.png', exif=False), RGB)


def test_16_bits_are_refused_where_a_depth_map_may_stand_for_an_image(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((4, 4), 2560, np.uint16))
    with pytest.raises(InputError, match='is a 16-bit picture'):
        read_rgb(tmp_path / 'a.png', wide=False)


def test_a_missing_image_is_named(tmp_path):
    for read in (read_rgb, image_size):
        with pytest.raises(InputError, match=f'{tmp_path}/gone.png does not exist'):
            read(tmp_path / 'gone.png')


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_the_size_of_a_file_is_read_only_if_it_has_its_end(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)).save(path)
    assert image_size(path) == (64, 48)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match='stops before its end'):
        image_size(path)


def test_images_are_known_by_their_suffix_in_any_case():
    assert [is_image_name(name) for name in ('a.JPEG', 'a.tif', '._a.png', 'a.txt', 'png')] == [
        True,
        True,
        *[False] * 3,
    ]


@pytest.mark.parametrize('suffix', ['.jfif', '.gif', '.jp2', '.pgm', '.tga', '.avif', '.PNG', '.webp'])
def test_files_of_phones_and_converters_are_read(tmp_path, suffix):
    blobs = cv2.resize(RGB[:2, :2], (32, 24), interpolation=cv2.INTER_LINEAR)
    image = Image.fromarray(blobs if suffix != '.pgm' else blobs[:, :, 0])
    path = tmp_path / f'a{suffix}'
    image.save(path, **({'quality': 95} if suffix in ('.jfif', '.avif', '.webp') else {}))
    assert is_image_name(path.name)
    expected = np.asarray(image.convert('RGB')).astype(int)
    assert np.abs(rgb(path).astype(int) - expected).mean() < 3
    assert image_size(path) == (24, 32)


def test_a_heic_picture_names_the_package_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr('bireal_plugin.data.image_file.find_spec', lambda name: None)
    path = tmp_path / 'named.jpg'  # whatever it is called
    path.write_bytes(b'\0\0\0\x18ftypheic' + bytes(50))
    with pytest.raises(InputError, match=r"HEIC picture, which needs .* pip install 'bireal-plugin\[heif\]'"):
        read_rgb(path)


@pytest.mark.parametrize('suffix', ['.png', '.tga', '.eps'])
def test_pillow_starts_no_program_for_a_file_that_is_called_an_image(tmp_path, monkeypatch, suffix):
    """PostScript, which Pillow hands to Ghostscript."""
    Image.fromarray(RGB).save(tmp_path / 'a.eps')
    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *_, **__: pytest.fail('Ghostscript was started'))
    path = tmp_path / f'b{suffix}'
    path.write_bytes((tmp_path / 'a.eps').read_bytes())
    with pytest.raises(InputError, match='cannot be decoded as an image'):
        read_rgb(path)


def test_too_many_pixels_are_a_sentence_with_the_way_out(tmp_path):
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / 'a.png')
    try:
        allow_pixels(2000)
        with pytest.raises(InputError, match=r'a\.png has more than .* million pixels.*--max-pixels'):
            read_rgb(tmp_path / 'a.png')
        allow_pixels(2400)
        assert rgb(tmp_path / 'a.png').shape == (40, 60, 3)
    finally:
        allow_pixels()
    with pytest.raises(InputError, match='must be 1 or more'):
        allow_pixels(0)
