"""The worker process of a session: found, started, spoken to in blocks, and ended; none of its ways to die is a hang.

``larq_worker`` is the other end, and says what the blocks hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import weakref
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Timer
from typing import IO, Any, Literal

from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import CLOSED

# How LceBconv2d is computed: without im2col, by im2col and a matrix product, or plainly.
Kernel = Literal['indirect', 'bgemm', 'reference']
PYTHON_VARIABLE = 'BIREAL_LARQ_PYTHON'
HOW_TO_MAKE_IT = (
    '.tflite files run in an environment of their own: `make .venv/.larq`, or `python -m venv DIR && '
    'DIR/bin/pip install "numpy<2" && DIR/bin/pip install --no-deps larq-compute-engine==0.16.0` and '
    f'{PYTHON_VARIABLE}=DIR/bin/python'
)
WORKER = Path(__file__).with_name('larq_worker.py')


def larq_python() -> Path:
    """The python of the environment that has the interpreter.

    Raises:
        InputError: there is none; the sentence says how to make it.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    path = Path(named) if named else Path(sys.prefix) / 'larq' / 'bin' / 'python'
    if not path.is_file():
        raise InputError(f'{path} does not exist; {HOW_TO_MAKE_IT}')
    return path


class LarqProcess:
    """One worker process. It ends with ``close``, with this object, or with this process, whichever is first.

    Args:
        name: of the model, for the sentences. threads, kernel: of the interpreter.
        timeout: of every answer, in seconds.
    """

    def __init__(self, name: str, *, threads: int, kernel: Kernel, timeout: float) -> None:
        self.name, self.timeout, self.lock = name, timeout, Lock()
        python = larq_python()
        self.messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by _end
        self.connection, theirs = Pipe()
        command = [str(python), '-I', str(WORKER), str(theirs.fileno()), str(threads), kernel]
        streams: Any = dict(stdin=subprocess.DEVNULL, stdout=self.messages, stderr=self.messages)
        try:
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], **streams)
        except OSError as error:
            self.messages.close()
            raise InputError(f'{python} cannot be started: {error.strerror}; {HOW_TO_MAKE_IT}') from error
        finally:
            theirs.close()
        self._finalizer = weakref.finalize(self, _end, self.process, self.connection, self.messages, os.getpid())

    def ask(self, block: bytes, *, answers: int) -> list[bytes]:
        """Send a block and give the ``answers`` that follow it; threads take turns.

        Raises:
            InputError: the worker says why it cannot, has died, or does not answer in time; it is ended then.
        """
        with self.lock:
            if not self._finalizer.alive:
                raise InputError(CLOSED.format(self.name))
            sentence, blocks = self._exchange(block, answers)
            if sentence:
                self.close()
                raise InputError(f'{self.name} does not run in the Larq interpreter: {sentence}')
        return blocks

    def close(self) -> None:
        """End the process; harmless when it has ended."""
        self._finalizer()

    def _exchange(self, block: bytes, answers: int) -> tuple[str, list[bytes]]:
        start = time.monotonic()
        watch = Timer(self.timeout, self.process.kill)
        watch.start()
        try:
            with suppress(OSError):  # the worker may have left a sentence before it went
                self.connection.send_bytes(block)
            sentence = self.connection.recv_bytes().decode()
            return sentence, [] if sentence else [self.connection.recv_bytes() for _ in range(answers)]
        except (EOFError, OSError) as error:
            raise self._failure(timed_out=time.monotonic() - start >= self.timeout) from error
        finally:
            watch.cancel()

    def _failure(self, *, timed_out: bool) -> InputError:
        if not self._finalizer.alive:  # closed by another thread
            return InputError(CLOSED.format(self.name))
        status = self.process.wait()
        what = f'did not answer within {self.timeout:g} s' if timed_out else f'ended with status {status}'
        self.messages.seek(0)
        said = self.messages.read().decode(errors='replace').strip().rpartition('\n')[2]
        self.close()
        return InputError(f'the Larq interpreter {what} on {self.name}{said and f": {said}"}')


def _end(process: subprocess.Popen[bytes], connection: Connection, messages: IO[bytes], owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked from it
        process.kill()
        process.wait()
    connection.close()
    messages.close()
