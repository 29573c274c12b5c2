"""Work that threads do side by side, and whose results are taken in the order in which it was given."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2

Result = TypeVar('Result')
CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
# Two wait for the network and one for its turn, while each core reads, draws or writes; more only hold memory.
THREADS = min(CORES, 7) + 3
YIELD = 10  # added to their nice value, so that the network, which all wait for, keeps a core


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


@dataclass(frozen=True)
class Threads:
    """Threads for a batch of images: those of ``work`` read, draw and write beside the one of ``network``."""

    work: ThreadPoolExecutor
    network: ThreadPoolExecutor


@contextmanager
def threads() -> Iterator[Threads]:
    """``THREADS`` threads for ``InOrder`` and the network's; after an error, what has not begun is dropped.

    OpenCV's own threads rest meanwhile: they would wait for each other busily.
    """
    given = Threads(ThreadPoolExecutor(THREADS, initializer=_give_way), ThreadPoolExecutor(1))
    given.network.submit(int).result()  # begun here, or it would have the priority of the one that first needs it
    own = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield given
    finally:
        given.work.shutdown(cancel_futures=True)
        given.network.shutdown()
        cv2.setNumThreads(own)


def _give_way() -> None:
    if sys.platform == 'linux':  # where each thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + YIELD)
