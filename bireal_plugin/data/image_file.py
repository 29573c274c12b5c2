"""Image files: their suffixes, their one reader, and their size with a check that the file is whole."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bireal_plugin.errors import InputError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.ppm', '.webp', '.tif', '.tiff')
# Pillow's decoders raise these for bytes they cannot make sense of.
UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
# Last bytes of whole files; some writers pad the file behind them.
ENDS = {'.png': b'IEND\xaeB`\x82', '.jpg': b'\xff\xd9', '.jpeg': b'\xff\xd9'}
TAIL_BYTES = 64


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
        InputError: the file is missing, truncated or no image, or holds real numbers, or 16 bits and ``wide`` is False.
    """
    with _opened(path) as stored:
        image = ImageOps.exif_transpose(stored) if exif else stored
        if image.mode == 'F':
            raise InputError(f'{path} has pixels that are real numbers; convert it to 8 or 16 bits')
        if image.mode.startswith('I'):  # grey of 16 or 32 bits
            if not wide:
                raise InputError(f'{path} is a 16-bit picture, not an 8-bit image; convert it to 8 bits')
            values = np.asarray(image)
            if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
                raise InputError(f'{path} has pixels outside 0..65535; convert it to 8 or 16 bits')
            image = Image.fromarray(np.round(values / 257).astype(np.uint8))
        # Through RGBA: a palette may have transparency of its own, at which Pillow warns otherwise.
        return (image.convert('RGBA') if image.mode == 'P' else image).convert('RGB')


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


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image that is read within the block; what its decoder raises there becomes a sentence."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise InputError(f'the image {path} does not exist') from error
    except InputError:
        raise
    except UNDECODABLE as error:
        raise InputError(f'{path} cannot be decoded as an image: it is truncated, damaged or something else') from error
