"""A batch of images and videos: the network, the files wanted and the counts they share, and the work on one image."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.in_order import Threads
from bireal_plugin.depth.inference.inputs import CameraChoice, Input
from bireal_plugin.depth.inference.outputs import Estimate, Style, depth_of, output_path, save
from bireal_plugin.depth.inference.predictor import Predictor, flip_averaged
from bireal_plugin.depth.maps import Box, Point, depth_at, depth_in, resized_disparity
from bireal_plugin.errors import InputError
from bireal_plugin.progress import say

LARGE = 12_000_000  # px, of images that are worked on one at a time, so that memory stays bounded


@dataclass(frozen=True)
class Wanted:
    """Files and measurements to make of every image; files that exist are refused unless one of the last two holds."""

    folder: Path  # for the files, which have the names of the inputs; it is made if there is none
    forms: Sequence[str]  # see SUFFIXES
    style: Style = field(default_factory=Style)
    points: Sequence[Point] = ()  # to measure depth at, and boxes to measure it in; for them an image is predicted
    boxes: Sequence[Box] = ()  # even if no file is to be written
    flip: bool = False  # whether the mirror image is averaged in
    overwrite: bool = False
    skip_existing: bool = False
    jpeg: bool = False  # whether pictures are JPEG files


@dataclass
class Told:
    """Lines and problems of a piece of work, and the scale of its depth, to be said when its turn comes."""

    scale: str | None = None
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Batch:
    """Work, counts and times of one call of ``infer``, which its text reports.

    Attributes:
        images: number of images predicted.
        seconds: in all, with reading and writing. network_seconds: in the network alone.
        problems: a sentence for everything that went wrong.
    """

    predictor: Predictor
    cameras: CameraChoice
    wanted: Wanted
    threads: Threads
    images: int = 0
    seconds: float = 0.0
    network_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    scale: str = ''
    count_turn: Lock = field(default_factory=Lock)
    large_turn: Lock = field(default_factory=Lock)

    def __str__(self) -> str:
        rate = ''
        if self.images:
            milliseconds = 1000 * self.network_seconds / self.images
            rate = f', {self.images / self.seconds:.1f} images/s (network {milliseconds:.0f} ms per image)'
        failed = f', {len(self.problems)} problem(s)' if self.problems else ''
        return f'{self.images} image(s) in {self.seconds:.1f} s{rate}{failed}'

    def tell(self, told: Told) -> None:
        """Say what a piece of work has to say; the scale only where it is another than that of the work before."""
        if told.scale not in (None, self.scale):
            say(told.scale)
            self.scale = told.scale
        for line in told.lines:
            say(line)
        for problem in told.problems:
            self.problems.append(problem)
            say(f'error: {problem}', file=sys.stderr)

    @staticmethod
    def tried(item: Input, work: Callable[[Told], None]) -> Told:
        """Run the work on an input and return its messages; the reason of a failure is the last of the problems."""
        told = Told()
        try:
            work(told)
        except InputError as error:
            text = str(error)
            told.problems.append(text if str(item) in text else f'{item}: {text}')
        except OSError as error:
            told.problems.append(f'{item}: nothing could be written or read: {error}')
        return told

    def estimate(self, image: np.ndarray, camera: Camera | None) -> Estimate:
        """Depth of an image; the network sees one at a time."""
        confidence = None
        if self.wanted.flip:
            disparity, confidence = flip_averaged(self.predict, image)
        else:
            disparity = self.predict(image)
        with self.count_turn:
            self.images += 1
        return Estimate(image, depth_of(disparity, camera), camera, confidence)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Disparity ``(H, W)`` of an image, as the predictor's own; its time in the network is counted."""
        disparity = self.threads.network.submit(self.run, self.predictor.prepared(image)).result()
        return resized_disparity(disparity, image.shape[:2])

    def run(self, prepared: np.ndarray) -> np.ndarray:
        """In the network's thread: disparity of what the predictor has prepared."""
        start = time.perf_counter()
        disparity = self.predictor.run(prepared)
        self.network_seconds += time.perf_counter() - start
        return disparity

    def measured(self, name: str, estimate: Estimate) -> Iterator[str]:
        for point in self.wanted.points:
            yield f'{name} at {point[0]},{point[1]}: {depth_at(estimate.depth, point):.2f} {estimate.unit}'
        for box in self.wanted.boxes:
            value = depth_in(estimate.depth, box)
            yield f'{name} in {",".join(map(str, box))}: {value:.2f} {estimate.unit} (median)'

    def paths(self, name: str, forms: Sequence[str], *, metric: bool, filmed: bool = False) -> dict[str, Path]:
        """Path of each form's file that is to be written.

        Raises:
            InputError: a file exists, to be neither replaced nor skipped.
        """
        options = dict(metric=metric, filmed=filmed, jpeg=self.wanted.jpeg)
        paths = {form: output_path(self.wanted.folder, name, form, **options) for form in forms}
        there = [path for path in paths.values() if path.exists()]
        if self.wanted.skip_existing:
            return {form: path for form, path in paths.items() if path not in there}
        if there and not self.wanted.overwrite:
            raise InputError(f'{there[0]} exists; give another --out, --overwrite to replace it, or --skip-existing')
        return paths

    def save(self, name: str, estimate: Estimate, paths: Mapping[str, Path], style: Style, told: Told) -> list[Path]:
        """Write the forms; one that fails is told and does not keep the others from being written."""
        written = []
        for form, path in paths.items():
            try:
                save(estimate, form, path, style)
                written.append(path)
            except (InputError, OSError) as error:
                told.problems.append(str(error) if name in str(error) else f'{name}, {form}: {error}')
        return written

    def image(self, item: Input, place: str, told: Told) -> None:
        """Predict, measure and save one image."""
        image = np.asarray(read_rgb(item.path))
        camera, scale = self.cameras.camera(item.path, image.shape[:2])
        paths = self.paths(item.name, self.wanted.forms, metric=camera is not None)
        if not paths and not (self.wanted.points or self.wanted.boxes):
            told.lines.append(f'{place}: its files exist')
            return
        told.scale = scale
        with self.large_turn if image.shape[0] * image.shape[1] > LARGE else nullcontext():
            estimate = self.estimate(image, camera)
            told.lines += self.measured(item.name, estimate)
            written = self.save(str(item.path), estimate, paths, self.wanted.style, told)
        told.lines.append(f'{place} -> {", ".join(map(str, written)) or "nothing"}')
