"""Files that appear whole or not at all: written beside their place under a hidden name, then renamed into it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Path to write to; it becomes ``path`` when the block ends, and is removed when the block raises.

    The name is hidden, differs from every other writer's and keeps the suffix, which some writers choose a format by.
    Permissions are what the writer's umask gives. The folder must exist.
    """
    with whole_set(path) as (partial,):
        yield partial


@contextmanager
def whole_set(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """As ``whole``, for files that belong together; they are renamed in the given order once all are written.

    Files of one stem have one stem while they are written too, so that a ``.xml`` finds its ``.bin``.
    """
    token = secrets.token_hex(4)
    targets = [Path(path) for path in paths]
    partials = tuple(target.with_name(f'.{target.stem}.{token}{target.suffix}') for target in targets)
    try:
        yield partials
        for partial, target in zip(partials, targets, strict=True):
            os.replace(partial, target)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
