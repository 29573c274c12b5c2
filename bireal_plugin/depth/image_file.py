"""Reading the recordings' images, and telling a whole file from a truncated one without decoding it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bireal_plugin.errors import InputError

# A decoder fills what is missing of a truncated file with grey, and only warns: the end of a file tells more.
ENDS = {'.png': b'IEND\xaeB`\x82', '.jpg': b'\xff\xd9', '.jpeg': b'\xff\xd9'}
TAIL_BYTES = 64
AGAIN = 'it is truncated or foreign, so unpack it again.'


def read_rgb(path: Path) -> np.ndarray:
    """Decode an 8-bit image, ``(H, W, 3)`` uint8 RGB; grey becomes three equal channels.

    Raises:
        InputError: the file is missing, truncated, foreign, or not 8-bit grey or colour.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ('RGB', 'L'):
                raise InputError(f'{path} is a picture of mode {image.mode}, not 8-bit RGB or grey: convert it.')
            return np.array(image.convert('RGB'))
    except FileNotFoundError as error:
        raise InputError(f'the image {path} is missing.') from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{path} cannot be read as an image: {AGAIN}') from error


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) from the header of a whole file.

    Raises:
        InputError: the file is missing, foreign, or has no end.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
        with path.open('rb') as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            tail = file.read()
    except FileNotFoundError as error:
        raise InputError(f'the image {path} is missing.') from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f'{path} cannot be read as an image: {AGAIN}') from error
    if ENDS.get(path.suffix.lower(), b'') not in tail:
        raise InputError(f'{path} stops before its end: {AGAIN}')
    return height, width
