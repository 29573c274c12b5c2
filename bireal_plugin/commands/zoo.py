"""List the trained networks of this package, or add one: a work directory whose recipe has ended.

bireal zoo
bireal zoo --add work_dirs/bireal_r18_digits --training binary
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bireal_plugin.studies.zoo_entry import write_entry
from bireal_plugin.zoo import FOLDER, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [--add DIR [options]]'
    add = parser.add_argument
    add('--add', type=Path, metavar='DIR', help='work directory; its packed file is verified on test images')
    add('--training', metavar='STAGE', help='keep the weights of this stage too, for training to go on from')
    add('--out', type=Path, default=FOLDER, metavar='DIR', help="for the entry's folder (default: this package)")


def run(arguments: argparse.Namespace) -> None:
    if arguments.add is None:
        print(table())
    else:
        print(f'written: {write_entry(arguments.add, arguments.out, training=arguments.training)}')
