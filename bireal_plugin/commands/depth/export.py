"""Write a trained depth network to files that `bireal depth infer` runs, and verify them.

bireal depth export work_dirs/bireal_r18_street/bn/epoch_1.pth --format packed openvino --verify
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bireal_plugin.depth.inference.shipping import FORMATS, export_depth
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES, files_of, megabytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('config', type=Path, help='config file')
    parser.add_argument('checkpoint', type=Path, help='checkpoint file')
    parser.add_argument('--format', default='packed,openvino', metavar='NAMES', help=f'some of {",".join(FORMATS)}')
    parser.add_argument('--shape', nargs=2, type=int, metavar=('H', 'W'), help="of the input; by default the data's")
    parser.add_argument('--stage', metavar='NAME', help="the checkpoint's stage; by default the folder it lies in")
    parser.add_argument('--out', type=Path, help='folder for the files; export beside the checkpoint by default')
    parser.add_argument('--name', help="the files' name without suffix; the config's by default")
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    folder = arguments.out or arguments.checkpoint.parent / 'export'
    formats = list(dict.fromkeys(arguments.format.split(',')))
    for format in formats:
        if format not in FORMATS:
            raise InputError(f'--format {format}: a depth network is exported to {" or ".join(FORMATS)}')
    paths = {
        format: folder / f'{arguments.name or arguments.config.stem}{ENGINES[format].suffix}' for format in formats
    }
    for path in paths.values():
        for file in files_of(path):
            if file.exists() and not arguments.overwrite:
                raise InputError(f'{file} exists; give another --out, or --overwrite to replace it')
    folder.mkdir(parents=True, exist_ok=True)
    for format, path in paths.items():
        written = export_depth(
            arguments.config, arguments.checkpoint, format, path, size=arguments.shape, stage=arguments.stage
        )
        print(f'{written} ({megabytes(written):.2f} MB)', flush=True)
