"""The command from its start to its end."""

import os
import signal
import socket
import subprocess
import sys
from unittest.mock import MagicMock
from urllib.parse import urlsplit

import pytest

from tests.app.networks import tiny_networks
from tests.conftest import REPOSITORY
from tests.depth.tiny_depth import file_of, tiny_depth

pytest.importorskip('gradio', reason="needs the extra 'app'")


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp('network')
    return file_of(tiny_depth(folder), 'packed', folder)


@pytest.mark.parametrize(
    ('number', 'status', 'word'), [(signal.SIGINT, 130, 'interrupted'), (signal.SIGTERM, 143, 'terminated')]
)
def test_a_signal_ends_it_and_leaves_nothing(network, tmp_path, number, status, word):
    folder = tmp_path / 'temporary'
    folder.mkdir()
    environment = dict(PYTHONPATH=str(REPOSITORY), TMPDIR=str(folder), TORCHINDUCTOR_CACHE_DIR=str(tmp_path / 'torch'))
    process = subprocess.Popen(
        [sys.executable, '-m', 'bireal', 'app', network],
        env={**os.environ, **environment},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = urlsplit(process.stdout.readline().split()[4])
    with socket.create_connection((address.hostname, address.port)) as browser:  # which stays
        browser.sendall(b'GET /gradio_api/heartbeat/user HTTP/1.1\r\nHost: here\r\n\r\n')
        assert browser.recv(15) == b'HTTP/1.1 200 OK'
        process.send_signal(number)
        assert process.communicate(timeout=60) == ('', f'{word}\n')
    assert process.returncode == status
    assert not [*folder.iterdir()]


def port_of(server):
    return server.getsockname()[1]


@pytest.mark.parametrize('seen', [True, False], ids=['taken before', 'taken when it had been tried'])
def test_the_first_free_port_is_taken(tmp_path, monkeypatch, seen):
    from bireal_plugin.app import page

    with socket.create_server(('127.0.0.1', 0)) as server, socket.create_server(('127.0.0.1', 0)) as other:
        taken, free = port_of(server), port_of(other)
        other.close()
        monkeypatch.setattr(page, 'PORTS', [taken, free])
        if not seen:
            monkeypatch.setattr(page, 'socket', MagicMock())
        with page.served(tiny_networks(tmp_path), host='127.0.0.1', port=None, most_megabytes=1) as address:
            assert urlsplit(address).port == free


def test_a_port_that_is_taken_is_a_sentence(network, run_command):
    with socket.create_server(('127.0.0.1', 0)) as server:
        taken = port_of(server)
        ended = run_command('app', network, '--port', taken)
    assert (ended.status, ended.out) == (1, '')
    expected = f'error: no page at 127.0.0.1:{taken}: Address already in use; give another --host or --port\n'
    assert ended.err == expected


@pytest.mark.parametrize(
    ('host', 'reason'), [('nowhere.invalid', ''), ('192.0.2.1', 'Cannot assign requested address')]
)
def test_a_host_that_is_another_or_none_is_a_sentence(network, run_command, host, reason):
    ended = run_command('app', network, '--host', host)
    assert ended.status == 1
    assert ended.err.startswith(f'error: no page at {host}:7860: {reason}')
    assert ended.err.count('\n') == 1


def test_a_port_beyond_the_last_is_refused(run_command):
    ended = run_command('app', '--port', 65536)
    assert ended.status == 2
    assert 'argument --port: must be at most 65535, not 65536' in ended.err
