"""PNG files that are quick to write: rows as differences to the row above, which maps of depth have small ones of.

libpng at the same level of compression tries five filters on every row, for twice the time and no smaller a file.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from bireal_plugin.whole_file import whole

SIGNATURE = b'\x89PNG\r\n\x1a\n'
GREY, RGB, INDEXED = 0, 2, 3  # the format's types of colour
UP = 2  # the format's filter of a row
LEVEL = 1


def write_png(path: Path, pixels: np.ndarray, *, palette: np.ndarray | None = None) -> Path:
    """Write pixels ``(H, W)`` uint8 or uint16, or RGB ``(H, W, 3)`` uint8.

    Args:
        palette: colours RGB uint8 ``(n, 3)`` with n up to 256; ``(H, W)`` uint8 are indices in it then.

    Raises:
        OSError: the file cannot be written; nothing is left behind and an older file stays.
    """
    height, width = pixels.shape[:2]
    kind = RGB if pixels.ndim == 3 else GREY if palette is None else INDEXED
    header = struct.pack('>IIBBBBB', width, height, 8 * pixels.itemsize, kind, 0, 0, 0)
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder('>'), copy=False)).view(np.uint8)
    rows = rows.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]  # above the first row is 0
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(filtered.data, LEVEL)), (b'IEND', b'')]
    if palette is not None:
        chunks.insert(1, (b'PLTE', palette.tobytes()))
    with whole(path) as partial, partial.open('wb') as file:
        file.write(SIGNATURE)
        for name, content in chunks:
            checked = zlib.crc32(content, zlib.crc32(name))
            file.write(struct.pack('>I', len(content)) + name)
            file.write(content)
            file.write(struct.pack('>I', checked))
    return path
