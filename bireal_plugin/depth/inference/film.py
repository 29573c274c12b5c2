"""Depth of a video: films of its frames, and files of each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import av
import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.batch import Batch, Told
from bireal_plugin.depth.inference.in_order import InOrder
from bireal_plugin.depth.inference.inputs import Input
from bireal_plugin.depth.inference.outputs import FILMED, Estimate, Style, picture
from bireal_plugin.depth.inference.pictures import RunningRange
from bireal_plugin.depth.inference.video import VideoReader, VideoWriter, encodable
from bireal_plugin.errors import InputError
from bireal_plugin.progress import progress


def film(batch: Batch, item: Input, place: str, told: Told) -> None:
    """Predict, measure and save every frame of a video; Ctrl-C ends a stream as its last frame would.

    Raises:
        InputError: the video cannot be read or written, or ends before its end; the files of its frames stay.
    """
    # Of the threads' low priority, since the decoder's own inherit it.
    reader = batch.threads.work.submit(VideoReader, item.path, item.stream).result()
    camera, scale = batch.cameras.camera(item.path, (reader.height, reader.width))
    metric = camera is not None
    filmed = [form for form in batch.wanted.forms if form in FILMED]
    single = [form for form in batch.wanted.forms if form not in FILMED]
    films = batch.paths(item.name, filmed, metric=metric, filmed=True)
    measures = bool(batch.wanted.points or batch.wanted.boxes)
    if not films and not single and not measures:
        told.lines.append(f'{place}: its files exist')
        return
    batch.tell(Told(scale))
    read = 0
    with ExitStack() as stack:
        writers = {form: stack.enter_context(VideoWriter(path, reader.rate)) for form, path in films.items()}
        frames = Frames(batch, camera, writers, RunningRange(float(reader.rate)))
        with nullcontext() if item.stream is None else suppress(KeyboardInterrupt):
            for image in progress(reader, unit='frame', total=reader.expected):
                name = f'{item.name}-{read:06d}'
                paths = batch.paths(name, single, metric=metric)
                if paths or films or measures:
                    frames.put(name, image, reader.time, paths)
                read += 1
            frames.finish()
        frames.finish()
    files = [*map(str, films.values()), *([f'{batch.wanted.folder / item.name}-*'] if single else [])]
    live = item.stream is not None and reader.length is None  # and so without an end of its own
    end = f', until {reader.problem}' if live and reader.problem is not None else ''
    told.lines.append(f'{place} -> {", ".join(files)} ({read} frames{end})')
    if reader.problem is not None and not live:
        raise InputError(f'{item} ended after {read} frames, and {reader.problem}: it is truncated or damaged')


@dataclass
class Frame:
    """A predicted frame: its name, time in s and files."""

    name: str
    time: float | None
    paths: Mapping[str, Path]
    estimate: Estimate
    told: Told


@dataclass
class Frames:
    """Frames on their way: they are predicted in threads, get the range of their colours in order, are drawn and saved
    in threads, and appended to the films in order.
    """

    batch: Batch
    camera: Camera | None
    writers: Mapping[str, VideoWriter]
    ranges: RunningRange
    predicted: InOrder[Frame] = field(init=False)
    drawn: InOrder[tuple[dict[str, av.VideoFrame], Told]] = field(init=False)

    def __post_init__(self) -> None:
        pool = self.batch.threads.work
        self.predicted, self.drawn = InOrder(pool, self.colour), InOrder(pool, self.append)

    def put(self, name: str, image: np.ndarray, time: float | None, paths: Mapping[str, Path]) -> None:
        """Take the next frame ``(H, W, 3)``."""
        self.predicted.put(partial(self.predict, name, image, time, paths))

    def finish(self) -> None:
        """Wait until all frames are in the films."""
        self.predicted.finish()
        self.drawn.finish()

    def predict(self, name: str, image: np.ndarray, time: float | None, paths: Mapping[str, Path]) -> Frame:
        """In a thread: depth of a frame."""
        estimate = self.batch.estimate(image, self.camera)
        return Frame(name, time, paths, estimate, Told(lines=[*self.batch.measured(name, estimate)]))

    def colour(self, frame: Frame) -> None:
        """In order: range of the colours."""
        style = self.batch.wanted.style
        if self.writers and style.near_far is None:
            style = replace(style, near_far=self.ranges.after(frame.estimate.depth))
        self.drawn.put(partial(self.draw, frame, style))

    def draw(self, frame: Frame, style: Style) -> tuple[dict[str, av.VideoFrame], Told]:
        """In a thread: the frame of each film, and the files."""
        pictures = {form: encodable(picture(frame.estimate, form, style), frame.time) for form in self.writers}
        self.batch.save(frame.name, frame.estimate, frame.paths, style, frame.told)
        return pictures, frame.told

    def append(self, drawn: tuple[dict[str, av.VideoFrame], Told]) -> None:
        """In order: one more frame of the films."""
        pictures, told = drawn
        self.batch.tell(told)
        for form, writer in self.writers.items():
            writer.add(pictures[form])
