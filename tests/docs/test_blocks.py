"""Every code block of README and docs is run, in a folder with the files that a reader has; or says why not.

The blocks of a page run in order in one folder, Python in one namespace. A block below a comment
``<!-- needs: GPU -->`` is only read: Python is compiled, command lines go through the commands' own parsers.
"""

import argparse
import configparser
import doctest
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import bireal
from bireal_plugin.errors import InputError
from bireal_plugin.training.config import config_file
from tests.depth.tiny_depth import file_of, tiny_depth
from tests.warm import Python

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
BLOCK = re.compile(r'^(?:<!-- needs: (?P<needs>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$', re.M | re.S)
NEEDS = {'GPU', 'ImageNet', 'KITTI', 'Fashion-MNIST', 'network', 'minutes'}
# A command only says its words, so that loops, quotes and comments are bash's business; no other command is known.
RECORDER = """
set -eu
PATH=
say() { printf '%s\\0' "$@"; printf '\\n\\0'; }
for name in bireal python torchrun pip make; do eval "$name() { say $name \\"\\$@\\"; }"; done
"""


class Block(NamedTuple):
    page: Path
    line: int
    needs: str | None
    language: str
    text: str


def blocks(page):
    text = page.read_text()
    return [
        Block(page, text[: match.start('text')].count('\n'), match['needs'], match['language'], match['text'])
        for match in BLOCK.finditer(text)
    ]


def command_lines(block):
    """The words of each command that a bash block calls."""
    ran = subprocess.run(['bash'], input=RECORDER + block.text, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f'{block.page.name}, line {block.line}: {ran.stderr}'
    commands = [command.split('\0')[:-1] for command in ran.stdout.split('\n\0')]
    return [words for words in commands if words]


def sub_command(words):
    """Name and arguments of a command of ours: ``bireal NAME``, or a script of the repository."""
    program, *rest = words
    if program == 'torchrun':
        rest = [word for word in rest if not word.startswith('--nproc')]
    if program in ('python', 'torchrun'):
        assert (ROOT / rest[0]).is_file(), f'no script {rest[0]}'
        renamed = {script: name for name, script in bireal.SCRIPTS.items()}
        stem = rest[0].removesuffix('.py').replace('_', '-')
        return renamed.get(rest[0]) or stem.removeprefix('tools/').replace('/', ' '), rest[1:]
    length = 2 if rest[0] == 'depth' else 1
    return ' '.join(rest[:length]), rest[length:]


def check(words):
    """Fails where the command would not understand its words."""
    if words[0] == 'make':
        rules = re.findall(r'^(\S+):', (ROOT / 'Makefile').read_text().replace('$(VENV)', '.venv'), re.M)
        assert set(words[1:]) <= set(rules)
    elif words[0] == 'pip':
        setup = configparser.ConfigParser()
        setup.read(ROOT / 'setup.cfg')
        asked = re.findall(r'\.\[(.*)\]', ' '.join(words))
        assert {extra for extras in asked for extra in extras.split(',')} <= {*setup['options.extras_require']}
    else:
        name, arguments = sub_command(words)
        assert name in bireal.COMMANDS
        parser = argparse.ArgumentParser(add_help=False)
        bireal.command_parser(name, parser, str)
        given = vars(parser.parse_intermixed_args(arguments))
        for config in [given.get('config'), *(given.get('model') if name == 'benchmark' else [])]:
            if config is not None and not str(config).isdecimal():
                config_file(config)


def run(words, folder):
    """Runs a command of ours as a user does; what it says."""
    name, arguments = sub_command(words)
    ended = Python([ROOT / 'bireal.py', *name.split(), *arguments], folder=folder).ended()
    assert ended.status == 0, f'{words}:\n{ended.out[-3000:]}\n{ended.err[-3000:]}'
    return ended.out + ended.err


@pytest.fixture(scope='module')
def depth_network(tmp_path_factory):
    """A folder with a depth network as OpenVINO files ``net.xml`` and ``net.bin``, without training."""
    folder = tmp_path_factory.mktemp('depth')
    return file_of(tiny_depth(folder), 'openvino', folder).parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A reader's folder: ``photo.jpg`` and two photographs in ``photos``."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 96, 3), np.uint8)
    (tmp_path / 'photos').mkdir()
    for name in ('photo.jpg', 'photos/a.jpg', 'photos/b.png'):
        Image.fromarray(pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_blocks_are_understood(page):
    for block in blocks(page):
        assert block.needs is None or block.needs in NEEDS, f'{page.name}, line {block.line}'
        if block.language == 'python':
            doctest.DocTestParser().parse(block.text) if '>>>' in block.text else compile(block.text, page.name, 'exec')
        elif block.language == 'bash':
            for words in command_lines(block):
                try:
                    check(words)
                except (SystemExit, AssertionError, InputError) as error:
                    pytest.fail(f'{page.name}, line {block.line}: {" ".join(words)}: {error}')
        else:
            assert block.language in ('text', 'bibtex', 'c'), f'{page.name}, line {block.line}'


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_blocks_run(page, folder, depth_network):
    if 'bireal depth infer' in page.read_text():
        for part in ('net.xml', 'net.bin'):
            shutil.copy(depth_network / part, folder)
    namespace = {'__name__': page.name}
    for block in blocks(page):
        if block.needs is not None:
            continue
        if block.language == 'bash':
            for words in command_lines(block):
                run(words, folder)
        elif block.language == 'python' and '>>>' in block.text:
            test = doctest.DocTestParser().get_doctest(block.text, namespace, page.name, str(page), block.line)
            report = []
            doctest.DocTestRunner(verbose=False).run(test, out=report.append, clear_globs=False)
            assert not report, ''.join(report)
            namespace.update(test.globs)
        elif block.language == 'python':
            exec(compile('\n' * block.line + block.text, page, 'exec'), namespace)
        elif block.language == 'c' and shutil.which('gcc'):
            (folder / 'main.c').write_text(block.text)
            subprocess.run(['gcc', '-std=c11', '-Wall', '-Werror', 'main.c', 'net.c', '-o', 'main'], check=True)
            assert subprocess.run(['./main'], check=False).returncode == 0
