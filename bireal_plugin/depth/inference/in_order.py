"""Work that threads do side by side, and whose results are taken in the order in which it was given."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

import cv2

Result = TypeVar('Result')
# One waits for the network while each core reads, draws or writes for another; more only hold memory.
THREADS = min(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1, 7) + 1


class InOrder(Generic[Result]):
    """Pieces of work in threads; never more than ``THREADS`` + 1 are begun and not taken, which bounds memory.

    Args:
        pool: of the threads. take: is given the results one by one, in the thread of the caller.
    """

    def __init__(self, pool: ThreadPoolExecutor, take: Callable[[Result], None]) -> None:
        self.pool, self.take = pool, take
        self.begun: deque[Future[Result]] = deque()

    def put(self, work: Callable[[], Result]) -> None:
        """Begin a piece of work; an error of an earlier one is raised here."""
        while len(self.begun) > THREADS:
            self._take_one()
        self.begun.append(self.pool.submit(work))

    def finish(self) -> None:
        """Wait for all that is begun."""
        while self.begun:
            self._take_one()

    def _take_one(self) -> None:
        wait([self.begun[0]])  # Ctrl-C here loses nothing
        self.take(self.begun.popleft().result())


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for ``InOrder``; when the block is left by an error, what has not begun is dropped.

    OpenCV's own threads rest meanwhile: they would wait for each other busily.
    """
    pool, own = ThreadPoolExecutor(THREADS), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(own)
