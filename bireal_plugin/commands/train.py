"""Train any config: a recipe of stages, or one ordinary mmengine run (mmdet's included).

bireal train configs/bireal_r18_digits.py
bireal train configs/bireal_r50_imagenet.py --cfg-options data_root=/data/imagenet
torchrun --nproc_per_node=8 tools/train.py configs/bireal_r34_imagenet.py --launcher pytorch
"""

from __future__ import annotations

import argparse
import os

from mmengine.config import DictAction
from mmengine.dist import is_main_process

import bireal_plugin  # noqa: F401  registers models, datasets and hooks
from bireal_plugin.errors import InputError
from bireal_plugin.text_table import text_table
from bireal_plugin.training.config import build_runner, load_config, use_amp, use_auto_scale_lr, work_dir_of
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint
from bireal_plugin.training.launch import prepare_launch
from bireal_plugin.training.stages import run_stages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go; work_dirs/<config name> by default')
    parser.add_argument('--stage', metavar='NAME', help='run this stage of the recipe only')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='continue where the work directory stopped; a file only for configs without stages',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override config entries, dotted keys'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torch.distributed.launch passes it; torchrun sets the variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    config = load_config(arguments.config, arguments.cfg_options)
    work_dir = work_dir_of(config, arguments.work_dir)
    if arguments.amp:
        use_amp(config)
    if arguments.auto_scale_lr:
        use_auto_scale_lr(config)
    prepare_launch(config, arguments.launcher)

    if config.get('stages'):
        if arguments.resume not in (None, 'auto'):
            raise InputError('--resume takes no file in a recipe of stages: it continues from the work directory')
        results = run_stages(config, work_dir, only=arguments.stage, resume=arguments.resume is not None)
        if is_main_process():
            print(f'\n{text_table(results)}\n\nwritten to {work_dir}/results.json')
        return

    if arguments.stage:
        raise InputError(f'--stage {arguments.stage}: {arguments.config} has no stages')
    config.work_dir = work_dir
    start = latest_checkpoint(work_dir) if arguments.resume == 'auto' else arguments.resume
    if start is not None:
        config.resume = True
        config.load_from = str(start)
    build_runner(config).train()
