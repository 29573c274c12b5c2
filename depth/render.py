"""Write rendered streets as KITTI raw recordings are on disk: pairs, calibration, and their exact depth.

python depth/render.py streets --count 8 --size 96 320
python depth/infer.py streets --checkpoint net.xml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bireal_plugin.command_line import run_command
from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.depth.street.recording import DATE, write_recording
from bireal_plugin.errors import InputError


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', type=Path, help=f'new folder; the recording is ROOT/{DATE}')
    parser.add_argument('--count', type=int, default=8, help='number of pairs (8)')
    parser.add_argument('--size', nargs=2, type=int, default=[96, 320], metavar=('H', 'W'), help='of the images')
    parser.add_argument('--split', choices=['train', 'test'], default='test', help='streets of this split (test)')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.count < 1:
        raise InputError(f'--count must be 1 or more, not {arguments.count}')
    streets = StreetPairs(arguments.split, arguments.count, size=tuple(arguments.size), seed=arguments.seed)
    folder = write_recording(arguments.root, [streets.scene(i) for i in range(arguments.count)])
    print(f'{arguments.count} pairs with exact depth: {folder}')


if __name__ == '__main__':
    run_command(main)
