"""Evaluate trained weights on the test data of their config, a recipe's or mmdet's.

bireal test work_dirs/bireal_r18_digits/bn/epoch_1.pth
bireal test configs/bireal_r18_digits.py weights.pth --stage bn
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmengine.dist import is_main_process

from bireal_plugin.checkpoints.file import plain
from bireal_plugin.commands.arguments import add_existing, add_launcher, add_trained, launch, to_write, trained
from bireal_plugin.training.config import build_runner, config_mistakes, work_dir_of
from bireal_plugin.training.trained import trained_config
from bireal_plugin.whole_file import write_whole
from bireal_plugin.zoo import is_address, name_in


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [CONFIG] CHECKPOINT [options]'
    add_trained(parser)
    work_dir = 'for the log (default: test beside the checkpoint, or work_dirs/<config name>/test)'
    parser.add_argument('--work-dir', metavar='DIR', help=work_dir)
    parser.add_argument('--out', type=Path, metavar='FILE', help='also write the metrics to this file, as JSON')
    add_existing(parser)
    add_launcher(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and print the metrics as JSON."""
    files = to_write([arguments.out] if arguments.out else [], arguments)
    config = trained_config(**trained(arguments, arguments.checkpoint))
    launch(config, arguments)
    if is_main_process() and config.get('stage'):
        print(f'stage {config.stage} of {arguments.config or arguments.checkpoint}')
    config.load_strict = True
    default = Path(work_dir_of(config, None)) if arguments.config else Path(arguments.checkpoint).parent
    if is_address(arguments.checkpoint):
        default = Path('work_dirs', name_in(arguments.checkpoint))
    config.work_dir = arguments.work_dir or str(default / 'test')
    config.load_from = arguments.checkpoint
    runner = build_runner(config)
    with config_mistakes(str(config.filename)):
        metrics = runner.test()
    if is_main_process():
        text = json.dumps(plain(metrics), indent=2)
        print(text)
        for file in files:
            write_whole(file, text + '\n')
