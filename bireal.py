"""The console command ``bireal``: lists its sub-commands, and imports and runs the one that is chosen.

A module beside the package, because ``import bireal_plugin`` imports torch, which ``--help`` and ``--version`` need not
wait for.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from runpy import run_path
from types import FrameType, ModuleType, TracebackType

COMMANDS = {
    'train': 'train a config: a recipe of stages, or one mmengine run',
    'test': 'evaluate a checkpoint on the test data of its config',
    'predict': 'classes of images, or boxes in them',
    'export': 'write a trained network to files, and verify them',
    'verify': 'verify exported files against a checkpoint',
    'zoo': 'list the trained networks that the package brings',
    'inspect': 'list the layers, bits and bytes of a packed file',
    'convert': 'rewrite foreign weights under the names of this package',
    'app': 'a page in the browser for photographs',
    'cost': 'memory and operations of a network, layer by layer',
    'benchmark': 'time inference on every engine',
    'benchmark-training': 'time and memory of a training step',
    'ablation': 'train the grid of Table 1',
    'analyze': 'draw weights, activations and training curves',
    'depth infer': 'depth maps of images and videos',
    'depth evaluate': 'depth errors on KITTI or on rendered streets',
    'depth export': 'write a trained depth network to files, and verify them',
    'depth doctor': "check a download of KITTI's raw recordings",
    'depth render': 'write rendered streets in the form of KITTI raw recordings',
}
# What Ctrl-C leaves, and how to go on from there, where there is a way.
RESUMED, SKIPPED = (
    'what was saved stays, and --resume goes on from there',
    'finished files stay, and --skip-existing goes on after them',
)
GOING_ON = {
    'train': RESUMED,
    'ablation': 'what was saved stays, and the same command goes on from there',
    'depth infer': SKIPPED,
    'depth evaluate': SKIPPED,
    'predict': SKIPPED,
}
PATIENCE = 20  # s from Ctrl-C to the end, at most
SCRIPTS = {'inspect': 'tools/inspect_packed.py', 'convert': 'tools/convert_checkpoint.py'}


def main() -> None:
    """Run the sub-command that the first words of the command line name."""
    words = sys.argv[1:]
    length = 2 if words[:1] == ['depth'] else 1
    name = ' '.join(words[:length])
    if name in COMMANDS:
        _run(name, words[length:], in_full)
    parser, commands = _parsers()
    given = parser.parse_args(words + ['--help'] * (words in ([], ['depth'])))
    if given.version:
        print(run_path(str(Path(__file__).parent / 'bireal_plugin' / 'version.py'))['__version__'])
        return
    print(completion(parser, commands, given.print_completion))


def run(name: str) -> None:
    """Run one sub-command as a script of a checkout, such as ``tools/train.py``."""
    root = Path(sys.argv[0]).parent.parent

    def as_script(command: str) -> str:
        script = SCRIPTS.get(command) or (command.replace(' ', '/') if ' ' in command else f'tools/{command}') + '.py'
        script = script.replace('-', '_')
        return f'python {root / script}' if (root / script).is_file() else in_full(command)

    _run(name, sys.argv[1:], as_script)


def in_full(command: str) -> str:
    """Words that start a command; a script spells them in its own way."""
    return f'bireal {command}'


def completion(parser: argparse.ArgumentParser, commands: dict[str, argparse.ArgumentParser], shell: str) -> str:
    """The script by which ``shell`` completes the commands of ``parser``; it goes where the shell looks for those."""
    for name, command in commands.items():
        command_parser(name, command, in_full)
    return import_module('shtab').complete(parser, shell=shell)


def command_parser(name: str, parser: argparse.ArgumentParser, spelled: Callable[[str], str] = in_full) -> ModuleType:
    """Give ``parser`` the description and the arguments of a command; return the command's module.

    ``spelled`` gives the words that start a command, for usage and examples.
    """
    module = command_module(name)
    longest_first = '|'.join(sorted(COMMANDS, key=len, reverse=True))
    parser.description = re.sub(
        rf'\bbireal ({longest_first})\b', lambda match: spelled(match[1]), (module.__doc__ or '').strip()
    )
    parser.formatter_class = OneScreen
    parser.add_argument('-h', '--help', action='help', help=argparse.SUPPRESS)
    module.add_arguments(parser)
    return module


def command_module(name: str) -> ModuleType:
    """The module of a command."""
    return import_module('bireal_plugin.commands.' + name.replace(' ', '.').replace('-', '_'))


@contextmanager
def _first_imports() -> Iterator[None]:
    """Look for no garbage in what the block imports, then or at the end of the process: a third of a short command.

    Where the package is imported already, in a process with a life of its own, nothing changes.
    """
    if 'bireal_plugin' in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.freeze)


class OneScreen(argparse.RawDescriptionHelpFormatter):
    """Help in lines of up to 100 columns, an option a line."""

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=30, width=min(100, max(60, columns)) if sys.stdout.isatty() else 100)


class Stop:
    """Ctrl-C and SIGTERM while the block runs: one sentence on stderr, and the exit status 130 or 143.

    A signal before ``unwinding``, a second one, and ``PATIENCE`` seconds after the first end the process at once. The
    first is raised as KeyboardInterrupt, so that half files go and child processes end; whatever error comes of it,
    also of a library that took it for its own, the sentence is the end. A block that ends without one has done its
    work, as a stream that Ctrl-C ends. Handlers stay in place after the block, until the interpreter has run what is
    registered with ``atexit``.

    Args:
        going_on: what stays, and how to go on.
    """

    WORDS = {signal.SIGINT: 'interrupted', signal.SIGTERM: 'terminated'}

    def __init__(self, going_on: str) -> None:
        self.going_on = going_on
        self.process = os.getpid()
        self.number: int | None = None
        self.unwinding = self.told = False

    def __enter__(self) -> Stop:
        for number in self.WORDS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as of a job that a script has put into the background
                signal.signal(number, self._handle)
                atexit.register(signal.signal, number, signal.SIG_IGN)  # nothing is left to stop then
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is KeyboardInterrupt and self.number is None:
            self.number = signal.SIGINT
        self.unwinding = False
        signal.alarm(0)
        if self.number is not None and error is not None:
            sys.stdout.flush()
            sys.stderr.write(self._farewell())
            sys.exit(128 + self.number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a fork of this process, such as a worker of a DataLoader, which it ends
            if number == signal.SIGTERM:
                os._exit(0)
            return
        if self.number is None:
            self.number = number
            if self.unwinding:
                sys.excepthook = sys.unraisablehook = threading.excepthook = _quiet  # of threads that lose a peer
                signal.signal(signal.SIGALRM, self._handle)
                signal.alarm(PATIENCE)
                raise KeyboardInterrupt
        os.write(2, self._farewell().encode())  # not through stderr, in which this may have come
        os._exit(128 + self.number)

    def _farewell(self) -> str:
        """The sentence the first time, then nothing; of several processes the first one tells it."""
        if self.told or self.number is None or os.environ.get('RANK', '0') != '0':
            return ''
        self.told = True
        words = self.WORDS[signal.Signals(self.number)]
        return f'{words}; {self.going_on}\n' if self.going_on else f'{words}\n'


def _quiet(*_: object) -> None:
    """Print no traceback."""


def _run(name: str, words: list[str], spelled: Callable[[str], str]) -> None:
    """Run the command ``name`` on the arguments ``words``, and exit with its status.

    Mistakes become ``error: sentence`` on stderr and status 1; ``BIREAL_TRACEBACK=1`` in the environment shows where a
    mistake was found instead.
    """
    with Stop(GOING_ON.get(name, '')) as stop:
        with _first_imports():
            mistakes = (import_module('bireal_plugin.errors').InputError, OSError)
            command_module(name)
        parser = argparse.ArgumentParser(prog=spelled(name), add_help=False)
        try:
            module = command_parser(name, parser, spelled)
            arguments = parser.parse_intermixed_args(words)
            stop.unwinding = True
            status = module.run(arguments)
        except mistakes as error:
            if os.environ.get('BIREAL_TRACEBACK') or stop.number is not None:
                raise
            print(f'error: {_sentence(error)}', file=sys.stderr)
            status = 1
    sys.exit(status)


def _sentence(error: BaseException) -> str:
    """The message; of an error out of a DataLoader's worker the last line, since torch puts the traceback before it."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(': ')[2] if 'Traceback' in text else text


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """A parser that knows names and a line of help each, and the still empty parsers of the commands."""
    parser = argparse.ArgumentParser(prog='bireal', description='1-bit Bi-Real networks: train, ship, see depth.')
    parser.add_argument('--version', action='store_true', help='print the version of this package')
    parser.add_argument('--print-completion', choices=['bash', 'zsh'], help='print a completion script for this shell')
    inner = parser.add_subparsers(metavar='COMMAND')
    depth = inner.add_parser('depth', help='infer, evaluate, export, doctor, render')
    inner_depth = depth.add_subparsers(metavar='COMMAND', required=True)
    commands = {}
    for name, help_line in COMMANDS.items():
        place = inner_depth if name.startswith('depth ') else inner
        commands[name] = place.add_parser(name.removeprefix('depth '), help=help_line, add_help=False)
    return parser, commands


if __name__ == '__main__':
    main()
