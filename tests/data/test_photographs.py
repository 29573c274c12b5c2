"""Pictures as phones, converters and instruments write them: really written, and read as RGB."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bireal_plugin.data.image_file import read_rgb

HEIGHT, WIDTH = 48, 64
SMOOTH = cv2.resize(np.random.default_rng(0).integers(40, 216, (3, 4, 3), np.uint8), (WIDTH, HEIGHT))
SMOOTH[:16, :24] = (220, 40, 30)  # neither turned nor mirrored unseen
COLOUR = Image.fromarray(SMOOTH)
GREY = COLOUR.convert('L')
DEEP = np.asarray(GREY).astype(np.uint16) * 257
# Of the array as stored, to how it is shown.
SHOWN = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.fixture
def heif():
    """The package that writes HEIC pictures."""
    package = pytest.importorskip('pillow_heif', reason='pillow-heif, the extra heif, is not installed')
    package.register_heif_opener()
    return package


@pytest.fixture(params=['.heic', '.avif', '.jpg', '.webp'])
def suffix(request):
    if request.param == '.heic':
        request.getfixturevalue('heif')
    return request.param


def is_read_as(path, expected, tolerance=6.0):
    found, expected = np.asarray(read_rgb(Path(path))).astype(int), np.asarray(expected).astype(int)
    expected = expected if expected.ndim == 3 else np.repeat(expected[:, :, None], 3, axis=2)
    assert found.shape == expected.shape
    assert abs(found - expected).mean() < tolerance


@pytest.mark.parametrize('orientation', SHOWN)
def test_a_photo_is_upright_in_whatever_way_the_phone_was_held(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    COLOUR.save(tmp_path / f'a{suffix}', exif=exif.tobytes(), quality=95)
    is_read_as(tmp_path / f'a{suffix}', SHOWN[orientation](SMOOTH))


def test_grey_and_transparency(tmp_path, suffix):
    GREY.save(tmp_path / f'grey{suffix}', quality=95)
    is_read_as(tmp_path / f'grey{suffix}', GREY)
    if suffix != '.jpg':
        transparent = COLOUR.copy()
        transparent.putalpha(Image.fromarray(np.full((HEIGHT, WIDTH), 60, np.uint8)))
        transparent.save(tmp_path / f'alpha{suffix}', quality=95)
        is_read_as(tmp_path / f'alpha{suffix}', SMOOTH)


def test_heic_of_more_than_8_bits(tmp_path, heif):
    for mode, pixels, expected in (('I;16', DEEP, GREY), ('RGB;16', SMOOTH.astype(np.uint16) * 257, SMOOTH)):
        path = tmp_path / f'{mode[0]}.heic'
        heif.from_bytes(mode, (WIDTH, HEIGHT), pixels.tobytes()).save(path, quality=95)
        is_read_as(path, expected)


def test_a_burst_is_its_primary_picture(tmp_path, heif):
    several = heif.from_pillow(GREY)
    several.add_from_pillow(COLOUR)
    several.save(tmp_path / 'a.heic', quality=95, primary_index=1)
    is_read_as(tmp_path / 'a.heic', SMOOTH)


@pytest.mark.parametrize('name', ['a.gif', 'a.webp', 'a.png', 'a.avif', 'a.tif', 'a.jpg'])
def test_of_several_pictures_in_a_file_the_first_counts(tmp_path, name):
    options = dict(format='MPO') if name == 'a.jpg' else {}  # as phones with two lenses write
    other = Image.fromarray(255 - SMOOTH)
    COLOUR.save(tmp_path / name, save_all=True, append_images=[other], quality=95, **options)
    is_read_as(tmp_path / name, SMOOTH, 9)


def test_avif_may_be_written_as_of_the_family(tmp_path):
    """By the brand that HEIC and AVIF share, the more special one beside it; that needs no package for HEIC."""
    COLOUR.save(tmp_path / 'a.avif', quality=95)
    content = bytearray((tmp_path / 'a.avif').read_bytes())
    assert content[4:12] == b'ftypavif'
    content[8:12] = b'mif1'
    (tmp_path / 'b.avif').write_bytes(content)
    is_read_as(tmp_path / 'b.avif', SMOOTH)


def netpbm(kind, largest, pixels):
    """A file of values from 0 to ``largest``, as text (P2) or bytes."""
    values = np.rint(pixels / 255 * largest).astype(int)
    text = ' '.join(map(str, values.ravel())).encode()
    content = text if kind == 'P2' else values.astype('>u2' if largest > 255 else 'u1').tobytes()
    return f'{kind}\n# made by a scanner\n{WIDTH} {HEIGHT}\n{largest}\n'.encode() + content


@pytest.mark.parametrize('largest', [100, 255, 1023, 65535])
@pytest.mark.parametrize('kind', ['P2', 'P5', 'P6'])
def test_netpbm_of_any_largest_value(tmp_path, kind, largest):
    pixels = SMOOTH if kind == 'P6' else np.asarray(GREY)
    path = tmp_path / ('a.ppm' if kind == 'P6' else 'a.pgm')
    path.write_bytes(netpbm(kind, largest, pixels))
    is_read_as(path, pixels, 2)


@pytest.mark.parametrize('compression', [None, 'tga_rle'])
@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA', 'P'])
def test_targa(tmp_path, mode, compression):
    COLOUR.convert(mode).save(tmp_path / 'a.tga', compression=compression)
    is_read_as(tmp_path / 'a.tga', COLOUR.convert(mode).convert('RGB'), 1)


@pytest.mark.parametrize('options', [{}, dict(irreversible=True)])
def test_jpeg_2000(tmp_path, options):
    for mode in ('RGB', 'L', 'RGBA'):
        COLOUR.convert(mode).save(tmp_path / f'{mode}.jp2', **options)
        is_read_as(tmp_path / f'{mode}.jp2', GREY if mode == 'L' else SMOOTH)
    Image.fromarray(DEEP).save(tmp_path / 'deep.jp2')
    is_read_as(tmp_path / 'deep.jp2', GREY)


def test_the_content_decides_and_not_the_name(tmp_path, heif):
    for kind, name in (('JPEG', 'a.png'), ('PNG', 'a.tga'), ('JPEG', 'a.heic'), ('HEIF', 'a.JPG'), ('TIFF', 'b.jpg')):
        COLOUR.save(tmp_path / name, format=kind, quality=95)
        is_read_as(tmp_path / name, SMOOTH)
