"""Parsing and ending of every command: quietly, or with one sentence and a non-zero status."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType

import shtab

from bireal_plugin.errors import InputError


def run_command(name: str, words: list[str], spelled: Callable[[str], str], names: Iterable[str]) -> None:
    """Run the command ``name`` on the arguments ``words`` and exit with its status.

    Mistakes become ``error: sentence`` on stderr and status 1; ``BIREAL_TRACEBACK=1`` in the environment shows where a
    mistake was found instead. ``spelled`` gives the words that start a command, for usage and examples.
    """
    parser = argparse.ArgumentParser(prog=spelled(name), add_help=False)
    try:
        module = command_parser(name, parser, spelled, names)
        status = module.run(parser.parse_intermixed_args(words))
    except (InputError, OSError, KeyboardInterrupt) as error:
        if os.environ.get('BIREAL_TRACEBACK'):
            raise
        interrupted = isinstance(error, KeyboardInterrupt)
        sentence = 'interrupted; what was saved stays, and --resume continues from there'
        print(sentence if interrupted else f'error: {_sentence(error)}', file=sys.stderr)
        status = 130 if interrupted else 1
    sys.exit(status)


def command_parser(
    name: str, parser: argparse.ArgumentParser, spelled: Callable[[str], str], names: Iterable[str]
) -> ModuleType:
    """Give ``parser`` the description and the arguments of a command; return the command's module."""
    module = import_module('bireal_plugin.commands.' + name.replace(' ', '.').replace('-', '_'))
    longest_first = '|'.join(sorted(map(re.escape, names), key=len, reverse=True))
    parser.description = re.sub(
        rf'\bbireal ({longest_first})\b', lambda match: spelled(match[1]), (module.__doc__ or '').strip()
    )
    parser.formatter_class = OneScreen
    parser.add_argument('-h', '--help', action='help', help=argparse.SUPPRESS)
    module.add_arguments(parser)
    return module


def completion(parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser], shell: str) -> str:
    """The script by which ``shell`` completes the commands of ``parser``; it goes where the shell looks for those."""
    for name, command in commands.items():
        command_parser(name, command, lambda other: f'bireal {other}', commands)
    return shtab.complete(parser, shell=shell)


class OneScreen(argparse.RawDescriptionHelpFormatter):
    """Help in lines of up to 100 columns, an option a line."""

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=30, width=min(100, max(60, columns)) if sys.stdout.isatty() else 100)


def _sentence(error: BaseException) -> str:
    """The message; of an error out of a DataLoader's worker the last line, since torch puts the traceback before it."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(': ')[2] if 'Traceback' in text else text
