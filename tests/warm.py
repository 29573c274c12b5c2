"""Python in a process of its own that has imported everything: forked from a server, in milliseconds.

The fork has the command line, folder, environment, output and exit status of a new Python. What depends on the imports
themselves, as their time or a signal in the middle of them, is tested in a new one.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.asked_once import ask_once

# As bireal_plugin has it, for what imports openvino by itself: a thread that asks the network would not survive a fork.
sys.modules['openvino_telemetry'] = None
COMMANDS = tuple(
    f'bireal_plugin.commands.{name}' for name in ('train', 'export', 'predict', 'depth.export', 'depth.infer')
)
# What a training and an export import when they have begun, which takes longer than many of them here.
LATE = (
    *('torch.distributed', 'sklearn.datasets', 'matplotlib.pyplot', 'mmcv.ops', 'torch.utils.tensorboard'),
    *('bireal_plugin.export.onnx.lower', 'qonnx.core.modelwrapper', 'tflite'),
)
SERVER = multiprocessing.get_context('forkserver')
SERVER.set_forkserver_preload(['tests.warm', *COMMANDS, *LATE])


def start_server() -> None:
    """Start the server, if it does not run yet, in the folder where it finds these tests and not another package's."""
    folder = os.getcwd()
    os.chdir(Path(__file__).parents[1])
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(folder)


def import_all() -> None:
    """Import here, for forks of this process, what the server has imported; what is not installed is left out."""
    for name in (*COMMANDS, *LATE):
        with suppress(ImportError):
            import_module(name)
    ask_once()


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


class Python:
    """``python WORDS`` that has begun: a script, ``-c PROGRAM`` or ``-m MODULE`` with arguments.

    Args:
        folder: the working directory; the current one if it is not given.
        variables: of the environment, added to those of this process.
    """

    def __init__(self, words: Sequence[Any], *, folder: Path | str = '.', **variables: str) -> None:
        self._said = tempfile.TemporaryDirectory()
        self._streams = [os.path.join(self._said.name, name) for name in ('out', 'err')]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', **variables}
        arguments = ([str(word) for word in words], os.path.abspath(folder), environment, self._streams)
        start_server()
        self.process = SERVER.Process(target=_python, args=arguments)
        self.process.start()
        weakref.finalize(self, self.process.kill)  # also where a test fails that would have waited

    def ended(self, *, limit: float = 300) -> Ended:
        """Wait for the end, for so many seconds at most."""
        self.process.join(limit)
        assert self.process.exitcode is not None, f'still running after {limit} s'
        ended = Ended(self.process.exitcode, *(Path(stream).read_text() for stream in self._streams))
        self._said.cleanup()
        return ended


def _python(words: list[str], folder: str, environment: dict[str, str], streams: list[str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, stream in enumerate(streams, start=1):
        with open(stream, 'wb') as file:
            os.dup2(file.fileno(), descriptor)
    torch.set_num_threads(int(environment['OMP_NUM_THREADS']))  # which torch has read before
    ask_once()
    np.random.seed()  # as in a new process, and not as in all forks
    script = None if words[0] in ('-c', '-m') else words[0]
    sys.argv[:] = words if script else [words[0], *words[2:]]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)) if script else '')
    try:
        if script:
            runpy.run_path(script, run_name='__main__')
        elif words[0] == '-m':
            runpy.run_module(words[1], run_name='__main__', alter_sys=True)
        else:
            exec(compile(words[1], '<string>', 'exec'), {'__name__': '__main__'})
    finally:
        atexit._run_exitfuncs()
