"""Videos, frame by frame: RGB uint8 images in and out; written as H.264 that browsers play."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole

UNKNOWN_RATE = Fraction(25)  # frames per second, where a file does not say
QUALITY = '18'  # x264's constant rate factor: hardly to be told from the source
PRESET = 'ultrafast'  # a quarter of the time of 'veryfast', as true; maps half again as large, with the image twice
TICK = Fraction(1, 90_000)  # s, of frames at times of their own; whole in all usual rates
WEBCAMS = dict(linux=('v4l2', '/dev/video{}'), darwin=('avfoundation', '{}'), win32=('vfwcap', '{}'))
PATIENCE = 20  # s to wait for a stream
# FFmpeg's names of the containers that hold their frames themselves; a playlist, whatever it is called, opens others.
CONTAINERS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,flv'
# Of a pipe also frames without a container, as the tools of small cameras write them.
PIPED = f'{CONTAINERS},h264,hevc,mjpeg,mpjpeg'
ADDRESSES = 'http,https,tls,tcp,udp,rtp,rtcp,rtsp,rtmp,rtmps,rtmpt,srtp,srt,hls,crypto,data,httpproxy'  # no file
EDGE = 0.1  # s, by which the end of a whole file may lie behind that of its last frame
BT709 = 1  # matrix of colours in H.264, as in FFmpeg's AVCOL_SPC_BT709


class VideoReader:
    """Iterates once over the frames ``(H, W, 3)`` of a video file, turned upright as a player shows them.

    A file may claim more frames than it shows, where it was cut without being encoded anew.

    Args:
        path: of the file. stream: instead of it the number of a webcam, the address of a stream, or '-' for a video on
            standard input.

    Attributes:
        rate: frames per second, on average. count: number of frames that the file claims; 0 if it does not.
        width, height: in px. expected: number of frames by the file's length; None where unknown.
        damaged: number of frames so far that the decoder filled in, in part.
        time: of the frame that was given last, in s from the first one; None where unknown.
        problem: after the last frame, reason to think that there should be more; None for a whole file.

    Raises:
        InputError: the file is missing or no video that can be decoded.
    """

    def __init__(self, path: Path, stream: str | None = None) -> None:
        if stream is None and not path.is_file():
            raise InputError(f'{path} does not exist')
        self.path = path
        try:
            self.container = _opened(path, stream)
            track = self.container.streams.video[0]
            track.thread_type = 'AUTO'
            self.frames = self.container.decode(track)
            first = next(self.frames)
            self.first, self.start, self.damaged = _upright(first), first.time, int(first.is_corrupt)
        except (av.FFmpegError, IndexError, StopIteration, ValueError) as error:
            if stream is not None:
                raise InputError(f'{stream} gives no video: {getattr(error, "strerror", None) or error}') from error
            raise InputError(
                f'{path} cannot be decoded as a video: it is truncated, damaged or something else'
            ) from error
        self.rate = track.average_rate or track.guessed_rate or UNKNOWN_RATE
        self.count = max(track.frames, 0)
        self.height, self.width = self.first.shape[:2]
        self.length = _length(self.container, track, self.start or 0)
        self.expected = round(self.length * float(self.rate)) if self.length else self.count or None
        self.time: float | None = None if self.start is None else 0.0
        self.problem: str | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        step = 1 / float(self.rate)
        with self.container:
            yield self.first
            try:
                for frame in self.frames:
                    before = self.time
                    self.time = None if frame.time is None or self.start is None else float(frame.time - self.start)
                    if self.time is not None and before is not None:
                        step = max(step, self.time - before)
                    self.damaged += frame.is_corrupt
                    yield _upright(frame)
            except av.FFmpegError as error:
                self.problem = f'it cannot be decoded any further ({error.strerror})'
                return
        if self.length is None:
            return
        if self.time is not None and self.time + 2 * step < self.length - EDGE:
            self.problem = f'its last frame is {self.length - self.time:.1f} s before its end'
        elif self.damaged:
            self.problem = f'{self.damaged} of them could not be decoded whole'


def _length(container: InputContainer, track: VideoStream, start: float) -> float | None:
    """Length of a track in s by its own entry, or Matroska's note of it, or the file's where there is no other track.

    The last two count from the file's beginning, and the first frame is at ``start``.
    """
    if track.duration is not None and track.time_base is not None:
        return float(track.duration * track.time_base)
    if (noted := re.fullmatch(r'(\d+):(\d+):(\d+(?:\.\d+)?)', track.metadata.get('DURATION', ''))) is not None:
        hours, minutes, seconds = map(float, noted.groups())
        return 3600 * hours + 60 * minutes + seconds - start
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / av.time_base - start if alone else None  # type: ignore[operator]


def _opened(path: Path, stream: str | None) -> InputContainer:
    alone = dict(format_whitelist=CONTAINERS, protocol_whitelist='file')
    if stream is None:
        return av.open(str(path.absolute()), 'r', options=alone)  # or FFmpeg would take 'a:b.mp4' for an address
    if stream == '-':
        return av.open(sys.stdin.buffer, 'r', options={**alone, 'format_whitelist': PIPED})
    if stream.isdecimal():
        kind, name = WEBCAMS.get(sys.platform, WEBCAMS['linux'])
        return av.open(name.format(stream), 'r', format=kind)
    if stream.startswith('file://'):
        return av.open(stream, 'r', options=alone)
    return av.open(stream, 'r', options=dict(protocol_whitelist=ADDRESSES), timeout=PATIENCE)


class VideoWriter:
    """Writes frames to an .mp4, which appears when all are in; to be used in a ``with``. After an error there is none.

    H.264 with yuv420p, the form that every browser plays; it has even sizes, so an odd one repeats its last row or
    column.

    Args:
        path: of the file, whose folder exists.
        rate: frames per second.
    """

    def __init__(self, path: Path, rate: Fraction | float) -> None:
        self.path, self.rate = path, Fraction(rate).limit_denominator(1001)
        self.stack = ExitStack()
        self.stream: VideoStream | None = None
        self.count = 0

    def __enter__(self) -> VideoWriter:
        partial = self.stack.enter_context(whole(self.path))
        self.stack.enter_context(self._read_back(partial))
        # With the index in front, a browser starts before it has the whole file.
        self.container = self.stack.enter_context(av.open(str(partial), 'w', options=dict(movflags='faststart')))
        return self

    def write(self, image: np.ndarray, time: float | None = None) -> None:
        """Append one frame RGB uint8 ``(H, W, 3)``, shown at a time in s, by default at the rate; all have one size.

        Raises:
            InputError: the video cannot be encoded.
        """
        self.add(encodable(image, time))

    def add(self, frame: av.VideoFrame) -> None:
        """Append a frame that ``encodable`` made; see ``write``."""
        if self.stream is None:
            self.stream = self.container.add_stream('libx264', rate=self.rate, options=dict(crf=QUALITY, preset=PRESET))
            self.stream.width, self.stream.height, self.stream.pix_fmt = frame.width, frame.height, 'yuv420p'
            self.stream.codec_context.colorspace = BT709
            if frame.pts is not None:
                self.stream.codec_context.time_base = TICK
        self.count += 1
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        assert self.stream is not None
        try:
            self.container.mux(self.stream.encode(frame))
        except av.FFmpegError as error:
            raise InputError(f'{self.path} cannot be written as a video: {error}') from error

    @contextmanager
    def _read_back(self, file: Path) -> Iterator[None]:
        """After the block, hold the file against what was written: sizes of its frames, and their number."""
        yield
        found = 0
        with suppress(av.FFmpegError), av.open(str(file), 'r') as container:
            track = container.streams.video[0]
            if self.stream is not None and (track.width, track.height) == (self.stream.width, self.stream.height):
                found = sum(packet.size > 0 for packet in container.demux(track))
        if found != self.count:
            raise InputError(f'{self.path} reads back with {found} of its {self.count} frames: check the disk')

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.stack:
            if error is not None:
                raise error
            if self.stream is None:
                raise InputError(f'{self.path} was given no frame to write')
            self._encode(None)  # the frames that the encoder still holds


def encodable(image: np.ndarray, time: float | None = None) -> av.VideoFrame:
    """Frame for a ``VideoWriter`` of RGB uint8 ``(H, W, 3)``, shown at a time in s, by default at the writer's rate."""
    odd = [(0, side % 2) for side in image.shape[:2]]
    even = np.pad(image, (*odd, (0, 0)), mode='edge') if odd != [(0, 0), (0, 0)] else image
    shared = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(even), format='rgb24')
    frame = shared.reformat(format='yuv420p', dst_colorspace=BT709)
    if time is not None:
        frame.pts, frame.time_base = round(time / TICK), TICK
    return frame


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB pixels, turned by the rotation that a phone stores beside them."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format='rgb24'), round(frame.rotation / 90)))
