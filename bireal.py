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
    'train': 'train a config: every stage of a recipe, or one ordinary mmengine run',
    'test': 'evaluate a checkpoint on the test data of its config',
    'export': 'write a trained network for engines that run it, and verify the files',
    'inspect': 'list the layers, bits and bytes of a packed file',
    'convert': 'rewrite foreign weights under the names of this package',
    'cost': 'memory and operations of a network, layer by layer',
    'benchmark': 'time inference on every engine, beside the float twin',
    'benchmark-training': 'time and memory of a training step',
    'ablation': 'train the grid of structures, initialisations, weights and surrogates (Table 1)',
    'analyze': 'draw weights, activations, surrogates and training curves',
    'depth infer': 'depth of images and videos',
    'depth evaluate': 'depth errors on KITTI or on rendered streets',
    'depth export': 'write a trained depth network for engines that run it',
    'depth doctor': "check a download of KITTI's raw recordings",
    'depth render': 'write rendered streets as KITTI raw recordings',
}
SCRIPTS = {'inspect': 'tools/inspect_packed.py', 'convert': 'tools/convert_checkpoint.py'}


def main() -> None:
    """Run the sub-command that the first words of the command line name."""
    words = sys.argv[1:]
    length = 2 if words[:1] == ['depth'] else 1
    name = ' '.join(words[:length])
    if name in COMMANDS:
        _start(name, words[length:], lambda command: f'bireal {command}')
    _listing().parse_args(words[:length] or ['--help'])


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


def _listing() -> argparse.ArgumentParser:
    """Parser that knows names and one line of help each, for ``--help`` and for mistyped names."""
    parser = argparse.ArgumentParser(prog='bireal', description='1-bit Bi-Real networks: train, ship, see depth.')
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    depth = commands.add_parser('depth', help='depth from one image: infer, evaluate, export, doctor, render')
    depth_commands = depth.add_subparsers(metavar='COMMAND', required=True)
    for name, help_line in COMMANDS.items():
        inner, last = (depth_commands, name.split()[1]) if ' ' in name else (commands, name)
        inner.add_parser(last, help=help_line)
    return parser


if __name__ == '__main__':
    main()
