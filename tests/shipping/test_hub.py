"""Packed networks on the Hugging Face Hub: the folder with its card, and there and back by a stand-in server."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

import bireal_plugin
from bireal_plugin.errors import InputError
from bireal_plugin.shipping.hub import write_hub_folder
from tests.conftest import REPOSITORY

NETWORK = 'zoo://bireal_r18_digits'


class Hub(BaseHTTPRequestHandler):
    """The requests that huggingface_hub makes to create a repository, to commit files and to download one."""

    files: dict[str, bytes] = {}
    commit = 'c' * 40

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if self.path == '/api/repos/create':
            self.answer(json.dumps(dict(url=f'http://{self.headers["Host"]}/me/net', name='me/net', id='me/net')))
        elif self.path == '/api/validate-yaml':
            self.answer(json.dumps(dict(errors=[], warnings=[])))
        elif self.path.startswith('/api/models/me/net/preupload/'):
            told = [
                dict(path=file['path'], uploadMode='regular', shouldIgnore=False) for file in json.loads(body)['files']
            ]
            self.answer(json.dumps(dict(files=told)))
        elif self.path.startswith('/api/models/me/net/commit/'):
            for line in map(json.loads, body.splitlines()):
                if line['key'] == 'file':
                    self.files[line['value']['path']] = base64.b64decode(line['value']['content'])
            url = f'http://{self.headers["Host"]}/me/net/commit/{self.commit}'
            self.answer(json.dumps(dict(commitUrl=url, commitOid=self.commit, success=True)))
        else:
            self.answer('', 404)

    def do_GET(self):
        name = self.path.partition('?')[0].rpartition('/')[2]
        if self.path.startswith('/me/net/resolve/') and name in self.files:
            content = self.files[name]
            self.answer(content, etag=hashlib.sha256(content).hexdigest())
        elif self.path.startswith('/api/models/me/net'):
            self.answer(json.dumps(dict(id='me/net', sha=self.commit, siblings=[])))
        else:
            self.answer('', 404)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, content, status=200, etag='"none"'):
        content = content if isinstance(content, bytes) else content.encode()
        self.send_response(status)
        for key, value in {'Content-Length': len(content), 'ETag': f'"{etag}"', 'X-Repo-Commit': self.commit}.items():
            self.send_header(key, str(value))
        if status == 404:
            self.send_header('X-Error-Code', 'RepoNotFound')
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    """``hub(program)`` is what a Python program prints whose Hub is the stand-in."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def run(program):
        environment = dict(
            HF_ENDPOINT=f'http://127.0.0.1:{server.server_port}', HF_HOME=str(tmp_path / 'home'), HF_TOKEN='a'
        )
        environment |= dict(PYTHONPATH=str(REPOSITORY), OMP_NUM_THREADS='1', HF_HUB_DISABLE_TELEMETRY='1')
        words = [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(program)]
        done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    yield run
    server.shutdown()
    server.server_close()


def test_the_folder_holds_the_file_and_a_card_that_counts_it(tmp_path):
    folder = write_hub_folder(NETWORK, tmp_path / 'net', 'me/net')
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(bireal_plugin.load(folder / 'weights.safetensors')(images), bireal_plugin.load(NETWORK)(images))
    text = (folder / 'README.md').read_text()
    # 15 convolutions of 3 x 3 behind the first, of the widths 16, 32, 64 and 128 (4 in each stage, the first of which
    # has half the input channels but in the first stage).
    bits = 9 * sum(4 * c * c if c == 16 else 3 * c * c + c * c // 2 for c in (16, 32, 64, 128))
    assert f'{bits:,} weights of 1 bit in 16 convolutions' in text
    assert "bireal_plugin.load('hf-hub:me/net')" in text
    assert 'Images: 32 x 32 px. Classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.' in text
    assert text.startswith(
        '---\nlibrary_name: bireal-plugin\nlicense: apache-2.0\npipeline_tag: image-classification\n'
    )


def test_a_repository_has_an_owner_and_a_name(tmp_path):
    with pytest.raises(InputError, match="is called OWNER/NAME, not 'net'"):
        write_hub_folder(NETWORK, tmp_path, 'net')


@pytest.mark.slow
def test_what_is_pushed_comes_back_the_same_and_what_is_absent_is_told(hub):
    program = f"""
        import torch, bireal_plugin
        print(bireal_plugin.push_to_hub('{NETWORK}', 'me/net'))
        images = torch.rand(2, 1, 32, 32)
        there, here = (bireal_plugin.load(each)(images) for each in ('hf-hub:me/net', '{NETWORK}'))
        print(torch.equal(there, here))
        try:
            bireal_plugin.load('hf-hub:me/other')
        except bireal_plugin.InputError as error:
            print(str(error)[:45])
    """
    assert hub(program).splitlines() == ['hf-hub:me/net', 'True', 'hf-hub:me/other cannot be downloaded (Reposit']
    assert sorted(Hub.files) == ['README.md', 'weights.safetensors']
