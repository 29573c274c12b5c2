"""Train a config: a recipe of stages, or one ordinary mmengine run (mmdet's included).

bireal train bireal_r18_digits
bireal train bireal_r50_imagenet --cfg-options data_root=/data/imagenet
torchrun --nproc_per_node=8 -m bireal train bireal_r34_imagenet --launcher pytorch
"""

from __future__ import annotations

import argparse

from mmengine.dist import is_main_process

from bireal_plugin.commands.arguments import add_launcher, add_overrides, launch
from bireal_plugin.errors import InputError
from bireal_plugin.text_table import text_table
from bireal_plugin.training.config import build_runner, load_config, use_amp, use_auto_scale_lr, work_dir_of
from bireal_plugin.training.data_check import settle_classes
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint
from bireal_plugin.training.lock import only_run
from bireal_plugin.training.runner import machine_failures
from bireal_plugin.training.stages import run_stages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s CONFIG [options]'
    add = parser.add_argument
    add('config', metavar='CONFIG', help='config file, or name of one in this package')
    add('--work-dir', metavar='DIR', help='for logs and checkpoints (default: work_dirs/<config name>)')
    add('--stage', metavar='NAME', help='run this stage of the recipe only')
    resume = 'continue where the work directory stopped; FILE only without stages'
    add('--resume', nargs='?', const='auto', metavar='FILE', help=resume)
    changed = 'with --resume: go on although network, data or stages are not what the work directory was trained with'
    add('--allow-changed', action='store_true', help=changed)
    partial = 'take weights of load_from of which less than half fits'
    add('--allow-partial', action='store_true', help=partial)
    add('--amp', action='store_true', help='mixed precision; bfloat16 on a CPU')
    add('--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch')
    add_overrides(parser)
    add_launcher(parser)


def run(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config, arguments.cfg_options)
    work_dir = work_dir_of(config, arguments.work_dir)
    if arguments.allow_partial:
        config.allow_partial = True
    if arguments.amp:
        use_amp(config)
    if arguments.auto_scale_lr:
        use_auto_scale_lr(config)
    launch(config, arguments)
    settle_classes(config)

    if config.get('stages'):
        if arguments.resume not in (None, 'auto'):
            raise InputError('--resume takes no file in a recipe of stages: it continues from the work directory')
        resume = arguments.resume is not None
        with machine_failures():
            results = run_stages(
                config, work_dir, only=arguments.stage, resume=resume, allow_changed=arguments.allow_changed
            )
        if is_main_process():
            print(f'\n{text_table(results)}\n\nwritten to {work_dir}/results.json')
        return

    if arguments.stage:
        raise InputError(f'--stage {arguments.stage}: {arguments.config} has no stages')
    config.work_dir = work_dir
    start = latest_checkpoint(work_dir) if arguments.resume == 'auto' else arguments.resume
    if start is not None:
        config.resume, config.allow_changed = True, arguments.allow_changed
        config.load_from = str(start)
    with machine_failures(), only_run(work_dir):
        build_runner(config).train()
