"""Fixtures that several test folders share."""

import contextlib
import gc
import io
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

import bireal
from tests.asked_once import ask_once
from tests.warm import Ended, Python

REPOSITORY = Path(__file__).parents[1]
# The whole recipe on a few 16 x 16 digits: about two seconds on one core, 75 % with 1 bit. Dropout and augmentation
# are on, so that a run which draws other random numbers is another run.
TINY = """
_base_ = '{repository}/configs/bireal_r18_digits.py'
model = dict(backbone=dict(base_channels=4), drop_rate=0.1)
train_dataloader = dict(batch_size=64, dataset=dict(size=16, subset=448, transform=dict(pad=1)))
val_dataloader = dict(dataset=dict(size=16, subset=200))
test_dataloader = dict(dataset=dict(size=16, subset=200))
stages = dict(
    float=dict(train_cfg=dict(max_epochs=3)),
    leaky_clip=dict(train_cfg=dict(max_epochs=1)),
    clip=dict(train_cfg=dict(max_epochs=2)),
    binary=dict(train_cfg=dict(max_epochs=3)),
    bn=dict(train_cfg=dict(max_epochs=2)),
)
"""


def pytest_configure() -> None:
    """Hear Ctrl-C, which tests send: a shell starts what it leaves in the background deaf to it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    """Look for no garbage in what is imported, which stays: neither now nor, for a tenth of the time, in the tests."""
    gc.disable()


def pytest_collection_finish() -> None:
    ask_once()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get('BIREAL_DATA', Path(__file__).parents[1].parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data in {folder}; set BIREAL_DATA')
    return folder


@contextlib.contextmanager
def kept_signals() -> Iterator[None]:
    """Gives signals back the handlers from before the block; a command keeps its own until its process ends."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture(scope='session')
def run_tool() -> Callable[..., Ended]:
    """``run_tool('train.py', config, '--resume')`` runs a command of ``tools/`` in this process, as its file's main."""

    def run(tool: str, *arguments: Any) -> Ended:
        argv = [str(REPOSITORY / 'tools' / tool), *map(str, arguments)]
        out, err = io.StringIO(), io.StringIO()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # several make a network this small slower
        try:
            with (
                kept_signals(),
                patch.object(sys, 'argv', argv),
                patch.dict(os.environ),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                pytest.raises(SystemExit) as ended,
            ):
                runpy.run_path(argv[0], run_name='__main__')
        finally:
            torch.set_num_threads(threads)
        return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope='session')
def run_command() -> Callable[..., Ended]:
    """``run_command('depth infer', photo)`` is ``bireal depth infer photo`` in this process."""

    def run(name: str, *arguments: Any) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with (
            kept_signals(),
            patch.object(sys, 'argv', ['bireal', *name.split(), *map(str, arguments)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            bireal.main()
        return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope='session')
def start_tool() -> Callable[..., Ended]:
    """As ``run_tool``, in a process of its own."""
    return lambda tool, *arguments: Python([REPOSITORY / 'tools' / tool, *arguments]).ended()


@pytest.fixture(scope='session')
def start_ranks() -> Callable[..., list[Python]]:
    """As ``start_tool``, in two processes with torchrun's variables; both run when they are returned."""

    def start(tool: str, *arguments: Any) -> list[Python]:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            master = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free.getsockname()[1]), WORLD_SIZE='2')
        words = [REPOSITORY / 'tools' / tool, *arguments, '--launcher', 'pytorch']
        return [Python(words, RANK=rank, LOCAL_RANK=rank, LOCAL_WORLD_SIZE='2', **master) for rank in ('0', '1')]

    return start


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose whole recipe trains in seconds."""
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    path.write_text(TINY.format(repository=REPOSITORY))
    return path


@pytest.fixture
def tiny_config_with(tmp_path: Path, tiny_config: Path) -> Callable[[str], Path]:
    """``tiny_config_with('model = dict(...)')`` is a config on top of the tiny one."""

    def write(text: str) -> Path:
        path = tmp_path / 'changed.py'
        path.write_text(f'_base_ = {str(tiny_config)!r}\n{text}\n')
        return path

    return write


@dataclass
class Run:
    """A finished recipe: its work directory and what the command said."""

    folder: Path
    ended: Ended

    @property
    def results(self) -> list[dict[str, Any]]:
        """The rows of results.json."""
        return json.loads((self.folder / 'results.json').read_text())['stages']

    def checkpoint(self, stage: str) -> dict[str, Any]:
        """The content of the stage's last checkpoint."""
        row = next(row for row in self.results if row['name'] == stage)
        return torch.load(self.folder / row['checkpoint'], weights_only=True)

    def weights(self, stage: str) -> dict[str, torch.Tensor]:
        """The weights in the stage's last checkpoint."""
        return self.checkpoint(stage)['state_dict']


@pytest.fixture(scope='session')
def as_run() -> Callable[[Path, Ended], Run]:
    """Makes a Run of a work directory and an ended command that was to succeed."""

    def make(folder: Path, ended: Ended) -> Run:
        assert ended.status == 0, f'{ended.out[-3000:]}\n{ended.err[-3000:]}'
        return Run(folder, ended)

    return make


@pytest.fixture(scope='session')
def finished_run(
    run_tool: Callable[..., Ended],
    as_run: Callable[..., Run],
    tiny_config: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """The uninterrupted run of the tiny recipe; copy its folder before changing anything in it."""
    folder = tmp_path_factory.mktemp('work_dirs') / 'uninterrupted'
    return as_run(folder, run_tool('train.py', tiny_config, '--work-dir', folder))
