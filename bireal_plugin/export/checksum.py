"""A checksum inside a file: a marker, and behind it the SHA-256 of the whole file with zeros in the checksum's place.

It is found by the marker, so that a damaged file is refused before anything in it is followed.
"""

from __future__ import annotations

import hashlib

UNSIGNED = b'0' * hashlib.sha256().digest_size * 2


def signed(data: bytes, marker: bytes) -> bytes:
    """``data`` with the right checksum behind its only ``marker``."""
    start = data.index(marker) + len(marker)
    front, back = data[:start], data[start + len(UNSIGNED) :]
    return front + hashlib.sha256(front + UNSIGNED + back).hexdigest().encode() + back
