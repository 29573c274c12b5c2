"""Write rendered streets in the form of KITTI raw recordings: pairs, calibration, exact depth.

bireal depth render streets --count 8 --size 96 320
bireal depth infer 'streets/*/*/image_02/data/*' --checkpoint net.xml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bireal_plugin.commands.arguments import add_size, positive
from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.depth.street.scene import DATE, write_recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s ROOT [options]'
    parser.add_argument('root', type=Path, metavar='ROOT', help=f'new folder; the recording is ROOT/{DATE}')
    parser.add_argument('--count', type=positive, default=8, metavar='N', help='stereo pairs (default: 8)')
    add_size(parser, 'of images, px (default: 96 320)', default=[96, 320])
    parser.add_argument('--split', choices=['train', 'test'], default='test', help='of the streets (default: test)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the streets (default: 0)')


def run(arguments: argparse.Namespace) -> None:
    streets = StreetPairs(arguments.split, arguments.count, size=tuple(arguments.size), seed=arguments.seed)
    folder = write_recording(arguments.root, [streets.scene(i) for i in range(arguments.count)])
    print(f'{arguments.count} pairs with exact depth: {folder}')
