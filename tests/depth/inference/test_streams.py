"""Videos that are no files: of servers, of standard input and of webcams."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.inference.video import VideoReader, VideoWriter
from bireal_plugin.depth.street.scene import render_street
from tests.depth.tiny_depth import tiny_depth

COMMAND = Path(__file__).parents[3] / 'depth/infer.py'


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    tiny = tiny_depth(tmp_path_factory.mktemp('tiny'))
    return '--checkpoint', tiny.checkpoint, '--config', tiny.config


@pytest.fixture
def infer(run_command, network, tmp_path):
    """Runs the command; files go to ``tmp_path / 'out'``."""
    return lambda *arguments: run_command('depth infer', *arguments, *network, '--out', tmp_path / 'out')


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp('film') / 'film.mp4'
    with VideoWriter(path, 10) as writer:
        for seed in range(3):
            writer.write(render_street(seed, (64, 192)).left)
    return path


@contextmanager
def serving(handler):
    """Address of a server that answers by ``handler``."""
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


class Files(SimpleHTTPRequestHandler):
    """Serves a folder."""

    def log_message(self, *_):
        pass


class Camera(BaseHTTPRequestHandler):
    """Serves JPEG pictures one after another, as network cameras do: ``count`` of them, or until nobody listens."""

    protocol_version = 'HTTP/1.0'
    count = 10**6

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
        self.end_headers()
        pictures = [cv2.imencode('.jpg', render_street(seed, (64, 192)).left)[1].tobytes() for seed in range(3)]
        try:
            for number in range(self.count):
                picture = pictures[number % 3]
                head = f'--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n'
                self.wfile.write(head.encode() + picture + b'\r\n')
                time.sleep(0.01)
        except OSError:
            pass

    def log_message(self, *_):
        pass


class ShortCamera(Camera):
    """Ends after some pictures."""

    count = 7


def written(tmp_path):
    return sorted(path.name for path in (tmp_path / 'out').iterdir())


def test_a_file_of_a_server_is_as_the_file_itself(infer, film, tmp_path):
    with serving(partial(Files, directory=film.parent)) as address:
        ended = infer(f'{address}/{film.name}', film, '--save', 'npy')
    assert ended.status == 0, ended.err
    streamed = [name for name in written(tmp_path) if name.startswith('127.0.0.1')]
    assert len(streamed) == 3
    for number, name in enumerate(streamed):
        expected = np.load(tmp_path / f'out/film-{number:06d}_relative.npy')
        np.testing.assert_array_equal(np.load(tmp_path / 'out' / name), expected)


def test_a_network_camera_is_a_video_that_ends_when_it_does(infer, tmp_path):
    with serving(ShortCamera) as address:
        ended = infer(f'{address}/stream.mjpg', '--save', 'colour', 'npy')
    assert (ended.status, ended.err) == (0, '')
    assert '(7 frames, until it cannot be decoded any further' in ended.out
    *maps, film = sorted(written(tmp_path), key=lambda name: name.endswith('.mp4'))
    assert len(maps) == len(list(VideoReader(tmp_path / 'out' / film))) == 7
    first, fourth = (np.load(tmp_path / 'out' / name) for name in (maps[0], maps[3]))
    np.testing.assert_array_equal(first, fourth)  # the same picture again


def test_ctrl_c_ends_a_stream_and_keeps_the_film_of_all_frames_before(infer, monkeypatch, tmp_path):
    run, frames = Predictor.run, []

    def interrupting(self, batch):
        frames.append(batch)
        if len(frames) == 9:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return run(self, batch)

    monkeypatch.setattr(Predictor, 'run', interrupting)
    with serving(Camera) as address:
        ended = infer(f'{address}/endless')
    assert ended.status == 0, ended.err
    (film,) = written(tmp_path)
    shown, told = len(list(VideoReader(tmp_path / 'out' / film))), int(re.search(r'\((\d+) frames\)', ended.out)[1])
    # Ctrl-C may fall between a frame that is read and the work on it.
    assert 8 <= shown <= len(frames)
    assert abs(told - shown) <= 1


@pytest.mark.parametrize('kind', ['.mp4', '.avi', '.mkv'])
def test_a_video_may_come_on_standard_input(infer, film, monkeypatch, tmp_path, kind):
    path = tmp_path / f'given{kind}'
    with VideoWriter(path, 10) as writer:
        for image in VideoReader(film):
            writer.write(image)
    with path.open('rb') as file:
        monkeypatch.setattr(sys, 'stdin', type('Stdin', (), dict(buffer=file)))
        ended = infer('-', '--save', 'npy')
    assert ended.status == 0, ended.err
    assert written(tmp_path) == [f'stdin-{number:06d}_relative.npy' for number in range(3)]


def test_a_pipe_is_standard_input(network, film, tmp_path):
    command = [sys.executable, COMMAND, '-', *map(str, network), '--save', 'npy', '--out', str(tmp_path / 'out')]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    content = film.read_bytes()  # its index is in front, as pipes need it
    ended = subprocess.run(command, input=content, capture_output=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert written(tmp_path) == [f'stdin-{number:06d}_relative.npy' for number in range(3)]


@pytest.mark.parametrize(
    'address', ['17', '0' * 3, 'http://127.0.0.1:9/none.mp4', 'rtsp://127.0.0.1:9/cam', 'nonsense://x']
)
def test_a_stream_that_gives_nothing_is_a_sentence(infer, address):
    ended = infer(address)
    assert ended.status == 1
    assert f'{address} gives no video' in ended.err
    assert ended.err.count('\n') == 1


def test_a_page_in_the_place_of_a_stream_is_a_sentence(infer, tmp_path):
    (tmp_path / 'page.html').write_text('<html>log in</html>')
    with serving(partial(Files, directory=tmp_path)) as address:
        ended = infer(f'{address}/page.html', f'{address}/gone.mp4')
    assert ended.status == 1
    assert ended.err.count('gives no video') == ended.err.count('\n') == 2
    assert '404' in ended.err
