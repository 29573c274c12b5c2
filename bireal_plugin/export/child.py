"""Objects that live in a process of their own, so that a crash there is a sentence here.

A nursery is started at the first need: a process that imports the engines, runs nothing, and forks. For each object it
forks a guard, which forks the child that holds the object, tells how it ended, and ends it when nobody asks any more,
even in the middle of a call. Children therefore start in milliseconds, and without the threads that engines have
started in this process. (The fork server of multiprocessing runs the caller's script again in each child, and serves no
workers of a DataLoader, which are daemons.)
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.config import modules_of_networks

START = (
    'import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); '  # Ctrl-C is for the process that asked
    'import bireal_plugin.export.engines; from bireal_plugin.export.child import nurse; nurse({}, {})'
)


class CrashError(InputError):
    """The process of an engine has ended, by a signal as a rule."""


class Child:
    """An object in a process of its own: ``child(method, *arguments)`` gives what the method returned there.

    Safe from any number of threads, which take turns. The process ends with ``close``, with this object, or with this
    process.

    Args:
        name: for the sentences. build: makes the object in the child from the ``arguments``; pickled by its name.

    Attributes:
        seconds: that the last call took in the child.

    Raises:
        InputError: ``build`` or a method does.
        CrashError: the child has ended.
    """

    seconds = 0.0

    def __init__(self, name: str, build: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        self.name, self.lock = name, threading.Lock()
        self.connection = _born()
        self._finalizer = weakref.finalize(self, _end, self.connection, os.getpid())
        self._ask((os.getcwd(), sys.path, dict(os.environ), modules_of_networks()))
        self._ask((build, arguments, options))

    def __call__(self, method: str, *arguments: Any) -> Any:
        self.seconds, result = self._ask((method, arguments))
        return result

    def close(self) -> None:
        """End the process; harmless when it has ended."""
        self._finalizer()

    def _ask(self, message: Any) -> Any:
        with self.lock:
            if self.connection.closed:
                raise CrashError(f'the process of {self.name} has ended')
            try:
                with suppress(OSError):  # the child may have ended, of which its guard tells
                    self.connection.send(message)
                kind, content = self.connection.recv()
            except (EOFError, OSError):
                kind, content = 'ended', 0
        if kind == 'answer':
            return content
        if kind == 'ended':
            self.close()
            how = f'signal {signal.Signals(-content).name}' if content < 0 else f'status {content}'
            raise CrashError(f'{self.name} crashed: its process ended with {how}')
        raise InputError(content)


def _end(connection: Connection, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked from it
        with suppress(OSError):
            connection.send(None)
    connection.close()


# The nursery with the socket that takes the connections of children to be, and the lock around its start.
_nursery: list[tuple[socket.socket, subprocess.Popen[bytes]]] = []
_lock = threading.RLock()


def _forked() -> None:
    global _lock
    _lock = threading.RLock()  # a thread that does not exist here may hold the other


os.register_at_fork(after_in_child=_forked)


def _born() -> Connection:
    """The connection to a new child."""
    ours, theirs = socket.socketpair()
    with theirs:
        for attempt in range(2):
            try:
                socket.send_fds(_started(anew=attempt > 0), [b'x'], [theirs.fileno()])
                break
            except OSError:
                if attempt:
                    raise
    return Connection(ours.detach())


def _started(*, anew: bool) -> socket.socket:
    with _lock:
        if anew:
            _nursery.clear()
        if not _nursery:
            ours, theirs = socket.socketpair()
            with theirs:
                path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
                process = subprocess.Popen(
                    [sys.executable, '-c', START.format(theirs.fileno(), modules_of_networks())],
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, 'PYTHONPATH': path},
                    stdin=subprocess.DEVNULL,
                )
            _nursery.append((ours, process))
        return _nursery[0][0]


def nurse(descriptor: int, modules: Sequence[str]) -> None:
    """Fork a guard and a child, with these ``modules``, for every connection that comes through a socket."""
    _load(modules)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards are not waited for
    os.dup2(2, 1)  # what engines print is no output of a command
    with socket.socket(fileno=descriptor) as asked:
        while True:
            data, descriptors, *_ = socket.recv_fds(asked, 1, 1)
            if not data:
                return
            connection = Connection(descriptors[0])
            if os.fork() == 0:
                asked.close()
                _guard(connection)
            connection.close()


def _load(modules: Sequence[str]) -> None:
    for module in modules:
        with suppress(ImportError):
            import_module(module)


def _guard(connection: Connection) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        _serve(connection)
    ended, watch = os.pidfd_open(child), select.poll()
    watch.register(ended, select.POLLIN)
    watch.register(connection, 0)  # of which poll tells alone that nobody is at its other end
    if all(descriptor != ended for descriptor, _ in watch.poll()):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        connection.send(('ended', os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _serve(connection: Connection) -> None:
    """Answer until the connection ends; an error that is none of a user ends the process with its traceback."""
    try:
        folder, sys.path[:], environment, modules = connection.recv()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        _load(modules)
        connection.send(('answer', None))
        thing: Any = None
        while True:
            message = connection.recv()
            if message is None:
                os._exit(0)
            what, arguments, *options = message
            start = time.perf_counter()
            try:
                if options:
                    thing = result = what(*arguments, **options[0])
                else:
                    result = getattr(thing, what)(*arguments)
            except InputError as error:
                connection.send(('mistake', str(error)))
            else:
                seconds = time.perf_counter() - start
                connection.send(('answer', None if options else (seconds, result)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)
