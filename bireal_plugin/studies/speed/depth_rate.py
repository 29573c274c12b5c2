"""Rate at which depth maps of files are made, beside that of the network alone.

The network alone runs on prepared inputs in memory, in the same process and with the same threads, in turns with the
work on files, so that a shared machine slows both alike. Time of the CPU is counted besides, in all threads: it tells
what a machine with more cores, or one with less to do, would make of it.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.depth.inference.batch import Wanted
from bireal_plugin.depth.inference.inputs import CameraChoice, Input
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.inference.run import infer
from bireal_plugin.depth.inference.video import VideoReader
from bireal_plugin.errors import InputError

STATUS = Path('/proc/self/statm')
PAGE_KIB = 4
WARM_UP = 3  # runs
TURNS = 20  # of each side


@dataclass
class Side:
    """Images, and seconds of the clock and of the CPU that they took."""

    images: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds

    def __str__(self) -> str:
        return f'{self.rate:.1f} images/s, {1000 * self.cpu_seconds / self.images:.0f} ms of CPU per image'


@dataclass
class Comparison:
    """The two sides, and the resident memory in MiB after each turn, where the system tells it."""

    network: Side = field(default_factory=Side)
    files: Side = field(default_factory=Side)
    memory: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Rate on files by the network's own."""
        return self.files.rate / self.network.rate

    def __str__(self) -> str:
        lines = [f'network alone: {self.network}', f'with files: {self.files}; {self.ratio:.2f} of the network alone']
        if self.memory:
            low, high = min(self.memory), max(self.memory)
            lines.append(f'memory: {self.memory[0]:.0f} MiB after the first turn, later {low:.0f} to {high:.0f} MiB')
        return '\n'.join(lines)


def compare(inputs: Sequence[Input], predictor: Predictor, cameras: CameraChoice, wanted: Wanted) -> Comparison:
    """Make depth maps of the inputs in ``TURNS`` parts, in a temporary folder, and let the network run as often alone.

    Args:
        wanted: forms of the files; its folder plays no part.

    Raises:
        InputError: there is no input, or one of them failed.
    """
    if not inputs:
        raise InputError('there is no image or video to make depth maps of')
    first = inputs[0]
    image = next(iter(VideoReader(first.path))) if first.is_video else np.asarray(read_rgb(first.path))
    prepared, found = predictor.prepared(image), Comparison()
    for _ in range(WARM_UP):
        predictor.run(prepared)

    def alone(runs: int) -> None:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(runs):
            predictor.run(prepared)
        found.network.seconds += time.perf_counter() - start
        found.network.cpu_seconds += time.process_time() - cpu
        found.network.images += runs

    for part in np.array_split(np.arange(len(inputs)), min(TURNS, len(inputs))):
        chosen = [inputs[i] for i in part]
        with tempfile.TemporaryDirectory(prefix='bireal_') as folder, redirect_stdout(io.StringIO()):
            start, cpu = time.perf_counter(), time.process_time()
            batch = infer(chosen, predictor, cameras, replace(wanted, folder=Path(folder)))
            found.files.seconds += time.perf_counter() - start
            found.files.cpu_seconds += time.process_time() - cpu
        if batch.problems:
            raise InputError(batch.problems[0])
        found.files.images += batch.images
        alone(batch.images)
        if STATUS.is_file():
            found.memory.append(int(STATUS.read_text().split()[1]) * PAGE_KIB / 1024)
    return found
