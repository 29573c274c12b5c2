"""PNG files of depth maps and pictures, written for speed: the lowest compression, and the filter that suits maps."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from bireal_plugin.whole_file import whole

OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):  # OpenCV before it tries five filters on every row, for half again the time
    OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
# Of a map's rows hardly more than the runs of equal differences can be said: half the size of zlib's own choice.
RUNS = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
IHDR, INDEXED = slice(16, 29), 3  # header behind signature, length and name; colour type


def write_png(path: Path, pixels: np.ndarray, *, palette: np.ndarray | None = None) -> Path:
    """Write pixels ``(H, W)`` uint8 or uint16, or RGB ``(H, W, 3)`` uint8.

    Args:
        palette: colours RGB uint8 ``(n, 3)`` with n up to 256; ``(H, W)`` uint8 are indices in it then.

    Raises:
        InputError: the file cannot be written; nothing is left behind and an older file stays.
    """
    ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels  # OpenCV's colours are BGR
    options = OPTIONS if palette is None else [*OPTIONS, *RUNS]
    content = cv2.imencode('.png', np.ascontiguousarray(ordered), options)[1].tobytes()
    with whole(path) as partial:
        partial.write_bytes(content if palette is None else with_palette(content, palette))
    return path


def with_palette(grey: bytes, palette: np.ndarray) -> bytes:
    """A PNG file of 8-bit grey values as one of indices in ``palette``, RGB uint8 ``(n, 3)``.

    The two differ in the colour type, the 10th byte of the header, and in the chunk behind that (PNG, 11.2.2, 11.2.3).
    """
    header = bytearray(grey[IHDR])
    header[9] = INDEXED
    chunks = chunk(b'IHDR', bytes(header)) + chunk(b'PLTE', palette.tobytes())
    return grey[: IHDR.start - 8] + chunks + grey[IHDR.stop + 4 :]


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file: length, name, content and CRC (PNG, 5.3)."""
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
