"""PNG files of depth maps and pictures, written for speed: the lowest compression, and the filter that suits maps."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bireal_plugin.whole_file import whole

LEVEL = 1
OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, LEVEL]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):  # OpenCV before it tries five filters on every row, for half again the time
    OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


def write_png(path: Path, pixels: np.ndarray, *, palette: np.ndarray | None = None) -> Path:
    """Write pixels ``(H, W)`` uint8 or uint16, or RGB ``(H, W, 3)`` uint8.

    Args:
        palette: colours RGB uint8 ``(n, 3)`` with n up to 256; ``(H, W)`` uint8 are indices in it then.

    Raises:
        InputError: the file cannot be written; nothing is left behind and an older file stays.
    """
    content = io.BytesIO()
    if palette is None:
        ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # OpenCV's colours are BGR
        content.write(cv2.imencode('.png', np.ascontiguousarray(ordered), OPTIONS)[1].data)
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.putpalette(palette.tobytes())
        image.save(content, 'png', compress_level=LEVEL)
    with whole(path) as partial:
        partial.write_bytes(content.getbuffer())
    return path
