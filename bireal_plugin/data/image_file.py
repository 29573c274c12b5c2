"""Image files: their suffixes, their one reader, and their size with a check that the file is whole."""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bireal_plugin.errors import InputError

WRITABLE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.ppm', '.webp', '.tif', '.tiff')
IMAGE_SUFFIXES = (*WRITABLE_SUFFIXES, '.jfif', '.gif', '.jp2', '.pgm', '.tga', '.avif', '.heic', '.heif')
# Pillow opens these alone, whatever a file is called; for PostScript it would start Ghostscript.
FORMATS = ('PNG', 'JPEG', 'BMP', 'PPM', 'WEBP', 'TIFF', 'GIF', 'JPEG2000', 'AVIF')
MAX_PIXELS = 89_478_485  # to decode them takes less than 1 GB; from here on Pillow warns
HEIF_BRANDS = {b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'}
AVIF_BRANDS = {b'avif', b'avis'}
# Pillow's decoders raise these for bytes they cannot make sense of.
UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, Image.DecompressionBombError)
# Last bytes of whole files; some writers pad the file behind them.
ENDS = {'.png': b'IEND\xaeB`\x82', '.jpg': b'\xff\xd9', '.jpeg': b'\xff\xd9'}
TAIL_BYTES = 64
MAX_FTYP = 256  # bytes of the box with the names of what a HEIC or AVIF file is
_most_pixels = MAX_PIXELS


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image, by its suffix; hidden files are none."""
    # macOS archives carry "._name.JPEG" twins that are no images.
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')


def read_rgb(path: Path, *, exif: bool = True, wide: bool = True) -> Image.Image:
    """Decode an image file of any kind to 8-bit RGB.

    Grey values become three equal channels, palettes are looked up, transparency is dropped without blending, CMYK is
    converted by Pillow's ``convert('RGB')``.

    Args:
        exif: turn the image upright by its EXIF orientation, as a viewer shows a photograph. False for ImageNet, whose
            published results ignore the orientation, and for recordings, whose calibration belongs to pixels as stored.
        wide: scale 16-bit grey values to 8 bits, 65535 to 255 (Pillow's own conversion would saturate at 255). False
            refuses them, for recordings, where 16 bits are a depth map in the place of an image.

    Raises:
        InputError: the file is missing, truncated, no image or too large (``allow_pixels``), needs the package
            pillow-heif, or holds real numbers, or 16 bits and ``wide`` is False.
    """
    with _opened(path) as stored:
        if stored.mode == 'F':
            raise InputError(f'{path} has pixels that are real numbers; convert it to 8 or 16 bits')
        if stored.mode.startswith('I') and not wide:  # grey of 16 or 32 bits
            raise InputError(f'{path} is a 16-bit picture, not an 8-bit image; convert it to 8 bits')
        if exif:
            ImageOps.exif_transpose(stored, in_place=True)
        image: Image.Image = stored
        if image.mode.startswith('I'):
            values = np.asarray(image)
            if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
                raise InputError(f'{path} has pixels outside 0..65535; convert it to 8 or 16 bits')
            scaled = np.empty(values.shape, np.uint8)
            for row, line in zip(scaled, values, strict=True):  # of the whole, real numbers would take 8 bytes a pixel
                row[:] = np.round(line / 257)
            image = Image.fromarray(scaled)
        if image.mode == 'RGB':
            image.load()
            return image  # a conversion would copy it, for a third of the time of a photograph
        # Through RGBA: a palette may have transparency of its own, at which Pillow warns otherwise.
        return (image.convert('RGBA') if image.mode == 'P' else image).convert('RGB')


def check_pixels(path: Path) -> None:
    """Refuse, by its header, a picture that is too large, or that is none.

    Raises:
        InputError: as ``read_rgb``.
    """
    with _opened(path):
        pass


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) in px from the header of a PNG or JPEG file that has its end; for others from the header alone.

    A decoder fills the missing part of a truncated file with grey; the end of the file tells more than decoding.

    Raises:
        InputError: the file is missing, no image, or stops before its end.
    """
    with _opened(path) as image, path.open('rb') as file:
        width, height = image.size
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        tail = file.read()
    if ENDS.get(path.suffix.lower(), b'') not in tail:
        raise InputError(f'{path} stops before its end: it is truncated, so copy or unpack it again')
    return height, width


EXIF_IFD, FOCAL_35MM = 0x8769, 0xA405
DIAGONAL_35MM = 36**2 + 24**2  # squared, mm


def focal_length(path: Path) -> float | None:
    """Focal length in px that a photograph tells, by its EXIF "focal length in 35 mm film"; None where it has none.

    That is the length, in mm, at which film of 36 x 24 mm has the same angle from corner to corner (CIPA DC-008).

    Raises:
        InputError: see ``read_rgb``.
    """
    with _opened(path) as image:
        told = image.getexif().get_ifd(EXIF_IFD).get(FOCAL_35MM)
        try:
            millimetres = float(told or 0)
        except (TypeError, ValueError):
            return None
        return millimetres * math.sqrt((image.width**2 + image.height**2) / DIAGONAL_35MM) or None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image that is read within the block; what its decoder raises there becomes a sentence."""
    try:
        with Image.open(path, formats=_formats(path)) as image:
            if image.width * image.height > _most_pixels:
                raise Image.DecompressionBombError
            yield image
    except FileNotFoundError as error:
        raise InputError(f'the image {path} does not exist') from error
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f'{path} has more than {_most_pixels / 1e6:.0f} million pixels, the limit for a picture; make it '
            'smaller, or raise the limit (bireal depth infer --max-pixels N; in Python '
            'bireal_plugin.data.image_file.allow_pixels)'
        ) from error
    except UNDECODABLE as error:
        raise InputError(f'{path} cannot be decoded as an image: it is truncated, damaged or something else') from error


def _formats(path: Path) -> tuple[str, ...]:
    """Formats of Pillow to try: those of ``FORMATS``, TGA (which has no mark of its own) by its suffix, and HEIF."""
    if (brands := _brands(path)) & HEIF_BRANDS and not brands & AVIF_BRANDS:
        if find_spec('pillow_heif') is None:
            raise InputError(
                f"{path} is a HEIC picture, which needs the package pillow-heif: pip install 'bireal-plugin[heif]', or "
                'save it as JPEG'
            )
        import_module('pillow_heif').register_heif_opener()
        return ('HEIF',)
    return (*FORMATS, 'TGA') if path.suffix.lower() == '.tga' else FORMATS


def _brands(path: Path) -> set[bytes]:
    """Four-letter names of what an ISO media file is, and is compatible with; of both HEIF's kinds one is 'mif1'."""
    with path.open('rb') as file:
        length, kind = int.from_bytes(file.read(4), 'big'), file.read(4)
        names = file.read(min(length, MAX_FTYP) - 8) if kind == b'ftyp' and length > 8 else b''
    return {names[start : start + 4] for start in range(0, len(names), 4)}


def allow_pixels(count: int = MAX_PIXELS) -> None:
    """Let pictures of up to ``count`` pixels be read in this process.

    Raises:
        InputError: the number is not positive.
    """
    if count < 1:
        raise InputError(f'--max-pixels must be 1 or more, not {count}')
    global _most_pixels
    _most_pixels = count
    Image.MAX_IMAGE_PIXELS = count  # Pillow refuses pictures of more than twice this, and warns of more than this
