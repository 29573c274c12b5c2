"""Files that appear whole or not at all: written beside their place under a hidden name, then renamed into it."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bireal_plugin.errors import InputError
from bireal_plugin.processes import host_mark, process_mark, started

# What whole_set puts into a name: host, process and its start, and the file.
MARK = re.compile(r'\..*\.([0-9a-f]{6})-(\d+)-(\d+)-[0-9a-f]{8}(\.[^.]*)?')
ELSEWHERE = 86400.0  # s without a change, until a file of a process on another host counts as left


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Path to write to; it becomes ``path`` when the block ends, and is removed when the block raises.

    The name is hidden, differs from every other writer's and keeps the suffix, which some writers choose a format by.
    Permissions are what the writer's umask gives. The folder must exist.

    Raises:
        InputError: the disk is full, the folder is gone or may not be written to.
    """
    with whole_set(path) as (partial,):
        yield partial


@contextmanager
def whole_set(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """As ``whole``, for files that belong together; they are renamed in the given order once all are written.

    Files of one stem have one stem while they are written too, so that a ``.xml`` finds its ``.bin``.
    """
    mark = f'{process_mark()}-{secrets.token_hex(4)}'
    targets = [Path(path) for path in paths]
    partials = tuple(target.with_name(f'.{target.stem[:50]}.{mark}{target.suffix}') for target in targets)
    ours = (None, *map(str, (*partials, *targets)))
    try:
        yield partials
        for partial, target in zip(partials, targets, strict=True):
            os.replace(partial, target)
    except OSError as error:
        if error.filename is not None and str(error.filename) not in ours:  # of a file that the block reads
            raise
        raise InputError(f'{targets[-1]} cannot be written: {error.strerror or error}') from error
    finally:
        for partial in partials:
            with suppress(OSError):  # as where the folder is gone
                partial.unlink(missing_ok=True)


def write_whole(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all; see ``whole``."""
    with whole(path) as partial:
        partial.write_text(text)


def remove_left(folder: str | Path) -> None:
    """Remove what processes that were killed in ``whole`` have left in a folder, not those within it."""
    for path in Path(folder).glob('.*'):
        found = MARK.fullmatch(path.name)
        if not found:
            continue
        host, process, start = found[1], int(found[2]), found[3]
        with suppress(OSError):  # another process removes it too, or finishes it
            if started(process) != start if host == host_mark() else time.time() - path.stat().st_mtime > ELSEWHERE:
                path.unlink()
