"""The console command ``bireal``: lists its sub-commands, and imports the one that is chosen.

A module beside the package, because ``import bireal_plugin`` imports torch, which ``bireal --help`` need not wait for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

COMMANDS = {
    'train': 'train a config: a recipe of stages, or one mmengine run',
    'test': 'evaluate a checkpoint on the test data of its config',
    'predict': 'classes of images, or boxes in them',
    'export': 'write a trained network to files, and verify them',
    'verify': 'verify exported files against a checkpoint',
    'inspect': 'list the layers, bits and bytes of a packed file',
    'convert': 'rewrite foreign weights under the names of this package',
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
SCRIPTS = {'inspect': 'tools/inspect_packed.py', 'convert': 'tools/convert_checkpoint.py'}


def main() -> None:
    """Run the sub-command that the first words of the command line name."""
    words = sys.argv[1:]
    length = 2 if words[:1] == ['depth'] else 1
    name = ' '.join(words[:length])
    if name in COMMANDS:
        _start(name, words[length:], lambda command: f'bireal {command}')
    parser, commands = _parsers()
    given = parser.parse_args(words + ['--help'] * (words in ([], ['depth'])))
    if given.version:
        print(import_module('bireal_plugin').__version__)
        return
    print(import_module('bireal_plugin.commands.command_line').completion(parser, commands, given.print_completion))


def run(name: str) -> None:
    """Run one sub-command as a script of a checkout, such as ``tools/train.py``."""
    root = Path(sys.argv[0]).parent.parent

    def spelled(command: str) -> str:
        script = SCRIPTS.get(command) or (command.replace(' ', '/') if ' ' in command else f'tools/{command}') + '.py'
        script = script.replace('-', '_')
        return f'python {root / script}' if (root / script).is_file() else f'bireal {command}'

    _start(name, sys.argv[1:], spelled)


def _start(name: str, words: list[str], spelled: Callable[[str], str]) -> None:
    """Import the command line with torch and everything, and run ``name`` in it; ends the process."""
    import_module('bireal_plugin.commands.command_line').run_command(name, words, spelled, COMMANDS)


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
