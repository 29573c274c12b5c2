"""Parsing and ending of every command: quietly, or with one sentence and a non-zero status."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType

from bireal_plugin.errors import InputError


def run_command(name: str, words: list[str], spelled: Callable[[str], str], names: Iterable[str]) -> None:
    """Run the command ``name`` on the arguments ``words`` and exit with its status.

    Mistakes become ``error: sentence`` on stderr and status 1; ``BIREAL_TRACEBACK=1`` in the environment shows where a
    mistake was found instead. ``spelled`` gives the words that start a command, for usage and examples.
    """
    if os.environ.get('BIREAL_TRACEBACK'):
        sys.exit(_run(name, words, spelled, names))
    try:
        status = _run(name, words, spelled, names)
    except (InputError, OSError) as error:
        print(f'error: {_sentence(error)}', file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print('interrupted; what was saved stays, and --resume continues from there', file=sys.stderr)
        status = 130
    sys.exit(status)


def command_module(name: str) -> ModuleType:
    """The module of a command: ``depth infer`` is ``bireal_plugin.commands.depth.infer``."""
    return import_module('bireal_plugin.commands.' + name.replace(' ', '.').replace('-', '_'))


def _run(name: str, words: list[str], spelled: Callable[[str], str], names: Iterable[str]) -> int | None:
    module = command_module(name)
    longest_first = '|'.join(sorted(map(re.escape, names), key=len, reverse=True))
    description = re.sub(rf'\bbireal ({longest_first})\b', lambda match: spelled(match[1]), module.__doc__ or '')
    parser = argparse.ArgumentParser(
        prog=spelled(name), description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    return module.run(parser.parse_args(words))


def _sentence(error: Exception) -> str:
    """The message; of an error out of a DataLoader's worker the last line, since torch puts the traceback before it."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(': ')[2] if 'Traceback' in text else text
