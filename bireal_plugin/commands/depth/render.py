"""Write rendered streets as KITTI raw recordings are on disk: pairs, calibration, and their exact depth.

bireal depth render streets --count 8 --size 96 320
bireal depth infer streets --checkpoint net.xml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.depth.street.recording import DATE, write_recording
from bireal_plugin.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('root', type=Path, help=f'new folder; the recording is ROOT/{DATE}')
    parser.add_argument('--count', type=int, default=8, help='number of pairs (8)')
    parser.add_argument('--size', nargs=2, type=int, default=[96, 320], metavar=('H', 'W'), help='of the images')
    parser.add_argument('--split', choices=['train', 'test'], default='test', help='streets of this split (test)')
    parser.add_argument('--seed', type=int, default=0)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if arguments.count < 1:
        raise InputError(f'--count must be 1 or more, not {arguments.count}')
    streets = StreetPairs(arguments.split, arguments.count, size=tuple(arguments.size), seed=arguments.seed)
    folder = write_recording(arguments.root, [streets.scene(i) for i in range(arguments.count)])
    print(f'{arguments.count} pairs with exact depth: {folder}')
