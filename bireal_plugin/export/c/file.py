"""``net.c`` and ``net.h`` on disk; the first comment holds a checksum and, as JSON, what a session has to know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bireal_plugin.errors import InputError
from bireal_plugin.export.checksum import UNSIGNED, signed
from bireal_plugin.whole_file import whole, whole_set

MARKER = b'bireal-c-1 sha256:'
IDENTIFIER = re.compile('(?!br(_|$))[a-z][a-z0-9_]*', re.IGNORECASE | re.ASCII)
ABOUT = re.compile(rb'^(\{.*\})$', re.MULTILINE)
LONGEST = 60  # characters of a name: C compilers tell longer ones apart by their first 63


def check_name(path: Path) -> None:
    """Raise InputError unless functions in C can be named after the file."""
    if not IDENTIFIER.fullmatch(path.stem) or len(path.stem) > LONGEST:
        raise InputError(
            f'{str(path)!a}: the functions in the file are named after it, so that its name has letters, digits and _ '
            f'alone, a letter first, {LONGEST} at most, and no br_ first, which the kernels have; net.c gives net_run'
        )


def write_c(path: Path, header: str, text: str, about: Mapping[str, Any]) -> None:
    """Write ``net.c``, and ``net.h`` beside it; they appear whole or not at all.

    Args:
        about: what ``read_c`` gives back.
    """
    with whole_set(path.with_suffix('.h'), path) as (beside, partial):
        beside.write_text(header, encoding='ascii')
        partial.write_bytes(_sealed(text.encode('ascii'), about))


def rewrite_c(path: Path, target: Path, **changes: Any) -> None:
    """Write the file at ``path`` to ``target`` with other entries about it."""
    about, data = read_c(path)
    with whole(target) as partial:
        partial.write_bytes(_sealed(data[data.index(b'*/\n') + 3 :].lstrip(b'\n'), {**about, **changes}))


def read_c(path: Path) -> tuple[dict[str, Any], bytes]:
    """The description in a file that ``write_c`` wrote, and its bytes.

    Raises:
        InputError: it is missing, of another origin, or was changed or cut since.
    """
    if not path.is_file():
        raise InputError(f'{path} does not exist or is no file')
    data = path.read_bytes()
    about = ABOUT.search(data)
    if data.count(MARKER) != 1 or about is None:
        raise InputError(f'{path} is truncated, or C that this package did not write; export the network')
    if data != signed(data, MARKER):
        raise InputError(f'{path} was changed after it was written: its checksum does not match; get it again')
    return json.loads(about[1]), data


def _sealed(text: bytes, about: Mapping[str, Any]) -> bytes:
    # In ASCII on one line, and without a slash that would begin or end a comment.
    told = json.dumps(about).replace('/', '\\/').encode('ascii')
    front = b'/* A 1-bit network in C, written by bireal-plugin, which refuses the file once it was changed.\n'
    return signed(front + b'%s%s\n%s\n*/\n\n' % (MARKER, UNSIGNED, told) + text, MARKER)
