"""Evaluate trained weights on the test data of their config, a recipe's or mmdet's.

bireal test work_dirs/bireal_r18_digits/bn/epoch_1.pth
bireal test configs/bireal_r18_digits.py weights.pth --stage bn
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from mmengine.config import DictAction
from mmengine.dist import is_main_process

import bireal_plugin  # noqa: F401  registers models, datasets and hooks
from bireal_plugin.training.config import build_runner, config_mistakes, load_config, work_dir_of
from bireal_plugin.training.launch import prepare_launch
from bireal_plugin.training.trained import trained_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='where the log goes; work_dirs/<config name>/test by default')
    parser.add_argument('--stage', metavar='NAME', help="the checkpoint's stage; by default the one it carries")
    parser.add_argument('--out', metavar='JSON', help='also write the metrics to this file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    config = load_config(arguments.config, arguments.cfg_options)
    work_dir = arguments.work_dir or str(Path(work_dir_of(config, None), 'test'))
    prepare_launch(config, arguments.launcher)
    config = trained_config(config, arguments.checkpoint, stage=arguments.stage)
    if config.get('stage') and is_main_process():
        print(f'stage {config.stage} of {arguments.config}')
    config.load_strict = True
    config.work_dir = work_dir
    config.load_from = arguments.checkpoint
    runner = build_runner(config)
    with config_mistakes(arguments.config):
        metrics = runner.test()
    if is_main_process():
        text = json.dumps(metrics, indent=2)
        print(text)
        if arguments.out:
            Path(arguments.out).write_text(text + '\n')
