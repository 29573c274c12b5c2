"""Videos, frame by frame: RGB uint8 images in and out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from bireal_plugin.errors import InputError

UNKNOWN_RATE = 25.0  # frames per second, where a file does not say
# FFmpeg has its own sentences for broken files, which come past Python. OpenCV reads this at its first video.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')


class VideoReader:
    """Iterates over the frames ``(H, W, 3)`` of a video file.

    Attributes:
        rate: frames per second. count: number of frames that the file claims; 0 if it does not. width, height: in px.

    Raises:
        InputError: the file is missing or no video that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f'{path} does not exist')
        self.path = path
        self.capture = cv2.VideoCapture(str(path))
        if not self.capture.isOpened():
            raise InputError(f'{path} cannot be decoded as a video: it is truncated, damaged or something else')
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else UNKNOWN_RATE
        self.count = max(int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.width, self.height = (
            int(self.capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            read = 0
            while True:
                found, frame = self.capture.read()
                if not found:
                    break
                read += 1
                yield np.ascontiguousarray(frame[:, :, ::-1])
        finally:
            self.capture.release()
        if not read:
            raise InputError(f'{self.path} has no frame that can be decoded')


class VideoWriter:
    """Writes frames to an .mp4, which appears when all are in; to be used in a ``with``. After an error there is none.

    Args:
        rate: frames per second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.partial = path.with_name(f'.{path.stem}.partial{path.suffix}')
        self.writer: cv2.VideoWriter | None = None
        self.size = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame RGB uint8 ``(H, W, 3)``; all have the size of the first.

        Raises:
            InputError: the file cannot be written.
        """
        if self.writer is None:
            # The codec takes even sizes alone.
            self.size = tuple(side + side % 2 for side in frame.shape[:2])
            code = cv2.VideoWriter.fourcc(*'mp4v')
            self.writer = cv2.VideoWriter(str(self.partial), code, self.rate, (self.size[1], self.size[0]))
            if not self.writer.isOpened():
                raise InputError(f'{self.path} cannot be written as a video')
        height, width = (side - given for side, given in zip(self.size, frame.shape[:2], strict=True))
        padded = np.pad(frame, ((0, height), (0, width), (0, 0)), mode='edge')
        self.writer.write(np.ascontiguousarray(padded[:, :, ::-1]))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.writer is not None:
            self.writer.release()
        try:
            if kind is None and self.writer is not None:
                os.replace(self.partial, self.path)
        finally:
            self.partial.unlink(missing_ok=True)
