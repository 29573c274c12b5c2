"""Videos in and out."""

import io
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from bireal_plugin.depth.inference.video import VideoReader, VideoWriter
from bireal_plugin.errors import InputError


def frames(count=5, shape=(47, 63)):
    """A bar that moves to the right over a red ground: neither mirrored nor with swapped channels unseen."""
    for i in range(count):
        frame = np.zeros((*shape, 3), np.uint8)
        frame[..., 0] = 200
        frame[: shape[0] // 2, 8 * i : 8 * i + 16] = 255
        yield frame


def write(path, images, rate=10):
    with VideoWriter(path, rate) as writer:
        for image in images:
            writer.write(image)


def test_frames_come_back_in_order_and_colour(tmp_path):
    write(tmp_path / 'a.mp4', frames())
    reader = VideoReader(tmp_path / 'a.mp4')
    assert (reader.rate, reader.count, reader.width, reader.height) == (10, 5, 64, 48)  # made even
    read = list(reader)
    for found, written in zip(read, frames(), strict=True):
        assert abs(found[:47, :63].astype(int) - written).mean() < 8  # the codec loses a little


@pytest.mark.parametrize(('count', 'shape'), [(1, (64, 64)), (5, (47, 63)), (30, (33, 120))])
def test_what_is_written_is_h264_that_browsers_play_and_has_every_frame(tmp_path, count, shape):
    write(tmp_path / 'a.mp4', frames(count, shape), rate=Fraction(30000, 1001))
    even = tuple(side + side % 2 for side in shape)
    with av.open(str(tmp_path / 'a.mp4')) as container:
        stream = container.streams.video[0]
        found = (stream.codec_context.name, stream.codec_context.pix_fmt, stream.frames, stream.average_rate)
        assert found == ('h264', 'yuv420p', count, Fraction(30000, 1001))
    assert [frame.shape for frame in VideoReader(tmp_path / 'a.mp4')] == [(*even, 3)] * count
    content = (tmp_path / 'a.mp4').read_bytes()
    assert content.index(b'moov') < content.index(b'mdat')  # plays before it is whole


def encoded(path, codec, *, format=None, start=0.0, count=12):
    """A video of ``count`` frames in any codec and container, the first at ``start`` s, ten a second."""
    with av.open(str(path), 'w', format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        for number, image in enumerate(frames(count, (48, 64))):
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            frame.pts, frame.time_base = round(start * 10) + number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(('name', 'codec'), [('a.mkv', 'libx264'), ('a.webm', 'libvpx'), ('a.m4v', 'libx264')])
@pytest.mark.parametrize('start', [0.0, 5.0])
def test_a_video_whose_end_is_missing_is_told_and_a_whole_one_is_not(tmp_path, name, codec, start):
    path = tmp_path / name
    encoded(path, codec, start=start, count=60)
    whole = VideoReader(path)
    assert (len(list(whole)), whole.problem) == (60, None)
    if path.suffix != '.m4v':  # whose index is at its end
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        cut = VideoReader(path)
        assert 1 < len(list(cut)) < 50
        assert 's before its end' in cut.problem


def test_frames_that_the_decoder_had_to_fill_in_are_counted(tmp_path):
    path = tmp_path / 'a.mp4'
    write(path, np.random.default_rng(0).integers(0, 255, (20, 96, 128, 3), np.uint8))
    whole = VideoReader(path)
    assert (len(list(whole)), whole.damaged, whole.problem) == (20, 0, None)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for packet in (packets[5], packets[12]):
            middle, end = packet.pos + packet.size // 2, packet.pos + packet.size
            content[middle:end] = b'\xff' * (end - middle)
    path.write_bytes(content)
    holed = VideoReader(path)
    assert (len(list(holed)), holed.damaged) == (20, 2)
    assert holed.problem == '2 of them could not be decoded whole'


@pytest.mark.parametrize(
    ('codec', 'format'), [('libx264', 'h264'), ('mjpeg', 'mjpeg'), ('libx264', 'mpegts'), ('libx264', 'matroska')]
)
def test_cameras_may_pipe_frames_without_a_container(tmp_path, monkeypatch, codec, format):
    encoded(tmp_path / 'piped', codec, format=format)
    piped = io.BytesIO((tmp_path / 'piped').read_bytes())
    piped.seekable = lambda: False
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=piped))
    assert len(list(VideoReader(Path('-'), '-'))) == 12


@pytest.mark.parametrize('degrees', [90, -90, 180])
def test_a_phones_video_is_turned_upright(tmp_path, degrees):
    image = next(frames(1, (48, 64)))
    with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode(None))
    reader = VideoReader(tmp_path / 'a.mp4')
    upright = np.rot90(image, degrees // 90)  # counterclockwise, as the display matrix counts
    assert (reader.height, reader.width) == upright.shape[:2]
    assert abs(next(iter(reader)).astype(int) - upright).mean() < 8


@pytest.mark.parametrize(('kept', 'found'), [(3, 3), (0, 0)])
def test_a_video_that_does_not_read_back_is_told_and_the_old_one_stays(tmp_path, monkeypatch, kept, found):
    """A disk that loses what it was given."""
    path = tmp_path / 'a.mp4'
    path.write_bytes(b'old')
    encode, given = VideoWriter._encode, iter(range(100))

    def lose(self, frame):
        if frame is None or next(given) < kept:
            encode(self, frame)

    monkeypatch.setattr(VideoWriter, '_encode', lose)
    with pytest.raises(InputError, match=rf'a\.mp4 reads back with {found} of its 5 frames: check the disk'):
        write(path, frames())
    assert [each.name for each in tmp_path.iterdir()] == ['a.mp4']
    assert path.read_bytes() == b'old'


def test_a_video_is_there_when_it_is_whole(tmp_path):
    def broken():
        yield from frames()
        raise InputError('broken')

    with pytest.raises(InputError, match='broken'):
        write(tmp_path / 'a.mp4', broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('content', [b'', b'no video at all', None])
def test_what_is_no_video_is_a_sentence(tmp_path, content):
    path = tmp_path / 'a.mp4'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f'{path} (cannot be decoded|does not exist)'):
        VideoReader(path)


def test_a_video_cut_in_half_is_a_sentence(tmp_path):
    write(tmp_path / 'a.mp4', frames())
    content = (tmp_path / 'a.mp4').read_bytes()
    (tmp_path / 'a.mp4').write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match='cannot be decoded'):
        VideoReader(tmp_path / 'a.mp4')


@pytest.mark.parametrize(
    'playlist',
    [
        'ffconcat version 1.0\nfile neighbour.mp4\n',
        '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nneighbour.mp4\n#EXT-X-ENDLIST\n',
        'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
    ],
    ids=['concat', 'hls', 'sdp'],
)
@pytest.mark.parametrize('how', ['file', 'stdin', 'address'])
def test_a_playlist_that_is_called_a_video_opens_nothing(tmp_path, monkeypatch, playlist, how):
    write(tmp_path / 'neighbour.mp4', frames())
    path = tmp_path / 'a.mp4'
    path.write_text(playlist)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    with pytest.raises(InputError, match=r'cannot be decoded|gives no video'):
        VideoReader(path, {'file': None, 'stdin': '-', 'address': f'file://{path}'}[how])


def test_a_stream_of_the_network_opens_no_file(tmp_path):
    """A playlist on a server names the file of a user."""
    write(tmp_path / 'mine.mp4', frames())
    (tmp_path / 'list.ffconcat').write_text(f'ffconcat version 1.0\nfile file:{tmp_path}/mine.mp4\n')

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        try:
            assert VideoReader(Path(), f'{address}/mine.mp4').count == len(list(frames()))
            with pytest.raises(InputError, match='gives no video'):
                VideoReader(Path(), f'{address}/list.ffconcat')
        finally:
            server.shutdown()
