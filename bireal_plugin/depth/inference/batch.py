"""Depth of many images and videos: each is predicted, measured and saved, and a bad one costs itself alone."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.inputs import CameraChoice, Input
from bireal_plugin.depth.inference.outputs import FILMED, Estimate, Style, depth_of, output_path, picture, save
from bireal_plugin.depth.inference.pictures import RunningRange
from bireal_plugin.depth.inference.predictor import PredictDisparity, flip_averaged
from bireal_plugin.depth.inference.video import VideoReader, VideoWriter
from bireal_plugin.depth.maps import Box, Point, depth_at, depth_in
from bireal_plugin.errors import InputError
from bireal_plugin.progress import progress, say


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


WAITING = 4  # estimates that may wait to be written, so that memory stays bounded


def infer(
    inputs: Sequence[Input],
    predict: PredictDisparity,
    cameras: CameraChoice,
    wanted: Wanted,
    *,
    problems: Sequence[str] = (),
) -> Batch:
    """Work through the inputs; results go to stdout, progress and problems to stderr as they are met.

    Args:
        predict: image ``(H, W, 3)`` to disparity in px of its own width.
        problems: sentences on inputs that were not found, which the report begins with.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    try:
        wanted.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f'--out {wanted.folder} cannot be made a folder: {error.strerror}') from error
    if not os.access(wanted.folder, os.W_OK | os.X_OK):
        raise InputError(f'--out {wanted.folder} may not be written to; give another folder')
    batch = Batch(predict, cameras, wanted)
    for problem in problems:
        batch.complain(problem)
    start = time.perf_counter()
    for number, item in enumerate(progress(inputs, unit='input'), start=1):
        for following in inputs[number : number + 1]:
            batch.read_ahead(following)
        try:
            (batch.video if item.is_video else batch.image)(item, f'[{number}/{len(inputs)}]')
        except InputError as error:
            text = str(error)
            batch.complain(text if str(item.path) in text else f'{item.path}: {text}')
        except OSError as error:
            batch.complain(f'{item.path}: nothing could be written or read: {error}')
    batch.written()
    batch.reader.shutdown()
    batch.writer.shutdown()
    batch.seconds = time.perf_counter() - start
    return batch


@dataclass
class Batch:
    """Work, counts and times of one call of ``infer``, which its text reports.

    Attributes:
        images: number of images predicted.
        seconds: in all, with reading and writing. network_seconds: in the network, with resizing.
        problems: a sentence for everything that went wrong.
    """

    predict: PredictDisparity
    cameras: CameraChoice
    wanted: Wanted
    images: int = 0
    seconds: float = 0.0
    network_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    told: str = ''
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    reading: dict[Path, Future[np.ndarray]] = field(default_factory=dict)
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    writing: deque[Future[None]] = field(default_factory=deque)

    def __str__(self) -> str:
        rate = ''
        if self.images:
            milliseconds = 1000 * self.network_seconds / self.images
            rate = f', {self.images / self.seconds:.1f} images/s (network {milliseconds:.0f} ms per image)'
        failed = f', {len(self.problems)} problem(s)' if self.problems else ''
        return f'{self.images} image(s) in {self.seconds:.1f} s{rate}{failed}'

    def complain(self, problem: str) -> None:
        self.problems.append(problem)
        say(f'error: {problem}', file=sys.stderr)

    def tell_scale(self, line: str) -> None:
        """Say the camera of a group of inputs: again only where it changes."""
        if line != self.told:
            say(line)
            self.told = line

    def estimate(self, image: np.ndarray, camera: Camera | None) -> Estimate:
        confidence = None
        start = time.perf_counter()
        if self.wanted.flip:
            disparity, confidence = flip_averaged(self.predict, image)
        else:
            disparity = self.predict(image)
        self.network_seconds += time.perf_counter() - start
        self.images += 1
        return Estimate(image, depth_of(disparity, camera), camera, confidence)

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

    def save(self, name: str, estimate: Estimate, paths: Mapping[str, Path], style: Style) -> list[Path]:
        """Write the forms; one that fails is reported and does not keep the others from being written."""
        written = []
        for form, path in paths.items():
            try:
                save(estimate, form, path, style)
                written.append(path)
            except (InputError, OSError) as error:
                self.complain(str(error) if name in str(error) else f'{name}, {form}: {error}')
        return written

    def later(self, work: Callable[[], None]) -> None:
        """Do the work in the thread that writes, while the network sees the next image; its errors are raised later."""
        while len(self.writing) >= WAITING:
            self.writing.popleft().result()
        self.writing.append(self.writer.submit(work))

    def written(self) -> None:
        """Wait until everything is written."""
        while self.writing:
            self.writing.popleft().result()

    def image(self, item: Input, place: str) -> None:
        image = self.read(item)
        camera, scale = self.cameras.camera(item.path, image.shape[:2])
        paths = self.paths(item.name, self.wanted.forms, metric=camera is not None)
        if not paths and not (self.wanted.points or self.wanted.boxes):
            say(f'{place} {item.path}: its files exist')
            return
        self.tell_scale(scale)
        estimate = self.estimate(image, camera)
        for line in [*self.measured(item.name, estimate)]:
            say(line)

        def write() -> None:
            written = self.save(str(item.path), estimate, paths, self.wanted.style)
            say(f'{place} {item.path} -> {", ".join(map(str, written)) or "nothing"}')

        self.later(write)

    def read(self, item: Input) -> np.ndarray:
        """Pixels of an image, read ahead where the item before it has asked for that."""
        ahead = self.reading.pop(item.path, None)
        return ahead.result() if ahead is not None else _pixels(item.path)

    def read_ahead(self, item: Input) -> None:
        """Begin to read an image that comes next."""
        if not item.is_video:
            self.reading[item.path] = self.reader.submit(_pixels, item.path)

    def video(self, item: Input, place: str) -> None:
        reader = VideoReader(item.path, item.stream)
        camera, scale = self.cameras.camera(item.path, (reader.height, reader.width))
        filmed = [form for form in self.wanted.forms if form in FILMED]
        single = [form for form in self.wanted.forms if form not in FILMED]
        films = self.paths(item.name, filmed, metric=camera is not None, filmed=True)
        measures = bool(self.wanted.points or self.wanted.boxes)
        if not films and not single and not measures:
            say(f'{place} {item.path}: its files exist')
            return
        ranges = RunningRange(float(reader.rate))
        read = 0
        with ExitStack() as stack:
            writers = {form: stack.enter_context(VideoWriter(path, reader.rate)) for form, path in films.items()}
            self.tell_scale(scale)
            stack.callback(self.written)  # before a film is ended
            frames = progress(reader, unit='frame', total=reader.expected)
            # Ctrl-C ends a stream as its last frame would.
            stack.enter_context(nullcontext() if item.stream is None else suppress(KeyboardInterrupt))
            for image in frames:
                name = f'{item.name}-{read:06d}'
                read += 1
                paths = self.paths(name, single, metric=camera is not None)
                if not paths and not films and not measures:
                    continue
                estimate = self.estimate(image, camera)
                for line in [*self.measured(name, estimate)]:
                    say(line)
                style = self.wanted.style
                if films and style.near_far is None:
                    style = replace(style, near_far=ranges.after(estimate.depth))
                self.later(partial(self._write_frame, name, estimate, paths, writers, style, reader.time))
        files = [*map(str, films.values()), *([f'{self.wanted.folder / item.name}-*'] if single else [])]
        say(f'{place} {item.path} -> {", ".join(files)} ({read} frames)')
        if reader.problem is not None:
            raise InputError(f'{item.path} ended after {read} frames, and {reader.problem}: it is truncated or damaged')

    def _write_frame(
        self,
        name: str,
        estimate: Estimate,
        paths: Mapping[str, Path],
        writers: Mapping[str, VideoWriter],
        style: Style,
        time: float | None,
    ) -> None:
        for form, writer in writers.items():
            writer.write(picture(estimate, form, style), time)
        self.save(name, estimate, paths, style)


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(read_rgb(path))
