"""Progress of long work on stderr: a bar with rate and ETA on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar('Item')
SECONDS = 10.0  # between two plain lines


def progress(items: Iterable[Item], *, unit: str, total: int | None = None) -> Iterator[Item]:
    """Iterate over ``items`` and show how many are done, at what rate, and how long the rest will take.

    Args:
        unit: of the items, such as 'image'.
        total: their number, by default the length of ``items``; without one the remaining time is left out.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, unit=unit, total=total, dynamic_ncols=True, leave=False)
        return
    start = told = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) - told >= SECONDS:
            told = now
            print(tqdm.format_meter(done, total, now - start, ncols=0, unit=unit), file=sys.stderr, flush=True)


def say(line: str, *, file: TextIO | None = None) -> None:
    """Print a line on stdout, or another file, above a bar where one is shown."""
    file = sys.stdout if file is None else file
    tqdm.write(f'{line}\n', file=file, end='')  # at once, so that no signal comes between a line and its end
    file.flush()
