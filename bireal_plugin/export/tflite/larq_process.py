"""The worker process of a session: found, started, spoken to in blocks, and ended; none of its ways to die is a hang.

The other end, and what the blocks hold, is ``larq_worker``.
"""

from __future__ import annotations

import json
import os
import selectors
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal

from bireal_plugin.errors import InputError

# How LceBconv2d is computed: without im2col, by im2col and a matrix product, or plainly.
Kernel = Literal['indirect', 'bgemm', 'reference']
PYTHON_VARIABLE = 'BIREAL_LARQ_PYTHON'
HOW_TO_MAKE_IT = (
    '.tflite files run in an environment of their own: `make .venv/.larq`, or `python -m venv DIR && '
    'DIR/bin/pip install "numpy<2" && DIR/bin/pip install --no-deps larq-compute-engine==0.16.0` and '
    f'{PYTHON_VARIABLE}=DIR/bin/python'
)
WORKER = Path(__file__).with_name('larq_worker.py')
CHUNK = 1 << 20
# An answer is a header and arrays no larger than this; anything else is a worker that has lost its senses.
LARGEST_BLOCK = 1 << 34
GRACE_SECONDS = 5.0


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
        self.name, self.timeout = name, timeout
        python = larq_python()
        self.messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by _end
        try:
            self.process = subprocess.Popen(
                [str(python), '-I', str(WORKER), str(threads), kernel],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.messages,
            )
        except OSError as error:
            self.messages.close()
            raise InputError(f'{python} cannot be started: {error.strerror}; {HOW_TO_MAKE_IT}') from error
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._finalizer = weakref.finalize(self, _end, self.process, self.messages)

    def ask(self, block: bytes) -> tuple[dict[str, Any], float]:
        """Send a block and give the header of its answer, and until when the rest of the answer may take.

        Raises:
            InputError: the worker says why it cannot, has died, or does not answer in time; it is ended then.
        """
        deadline = time.monotonic() + self.timeout
        self._send(struct.pack('<Q', len(block)) + block, deadline)
        answer = json.loads(self.receive(deadline))
        if 'error' in answer:
            self.close()
            raise InputError(f'{self.name} does not run in the Larq interpreter: {answer["error"]}')
        return answer, deadline

    def receive(self, deadline: float) -> bytes:
        """The next block of an answer."""
        (length,) = struct.unpack('<Q', self._read(8, deadline))
        if length > LARGEST_BLOCK:
            raise self._failure(f'sent a block of {length} bytes')
        return self._read(length, deadline)

    def close(self) -> None:
        """End the process; harmless when it has ended."""
        self._finalizer()

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._in, selectors.EVENT_WRITE, deadline)
            try:
                view = view[os.write(self._in, view[:CHUNK]) :]
            except BrokenPipeError:
                # It may have left a sentence before it went; the answer is read for it.
                return

    def _read(self, length: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < length:
            self._wait(self._out, selectors.EVENT_READ, deadline)
            part = os.read(self._out, min(CHUNK, length - len(data)))
            if not part:
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(GRACE_SECONDS)
                raise self._failure(f'ended with status {self.process.returncode}')
            data += part
        return bytes(data)

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        if not self._finalizer.alive:
            raise InputError(f'the session of {self.name} is closed; open another one')
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise self._failure(f'did not answer within {self.timeout:g} s')

    def _failure(self, what: str) -> InputError:
        self.messages.seek(0)
        lines = self.messages.read().decode(errors='replace').strip().splitlines()
        self.close()
        said = f': {lines[-1]}' if lines else ''
        return InputError(f'the Larq interpreter {what} on {self.name}{said}')


def _end(process: subprocess.Popen[bytes], messages: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, messages):
        if stream is not None:
            stream.close()
