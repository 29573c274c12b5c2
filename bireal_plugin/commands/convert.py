"""Rewrite weights under the names of this package: the published Bi-Real networks, any ResNet.

bireal convert birealnet18.pth.tar bireal18.pth
bireal convert birealnet18.pth.tar bireal18.safetensors --to timm
bireal convert torchvision://resnet50 start50.pth
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mmengine.config import Config
from torch import nn

from bireal_plugin.checkpoints.file import Origin, origin_of
from bireal_plugin.checkpoints.loading import fetch_checkpoint
from bireal_plugin.commands.arguments import add_existing, to_write
from bireal_plugin.errors import InputError
from bireal_plugin.models.resnet import DEPTHS
from bireal_plugin.models.rewritten_checkpoint import convert_checkpoint
from bireal_plugin.training.config import load_config
from bireal_plugin.training.recipe import build_model, chosen_stage
from bireal_plugin.training.trained import check_absorbed, trained_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s SOURCE TARGET [options]'
    add = parser.add_argument
    add('source', metavar='SOURCE', help='file, or torchvision://, timm://, open-mmlab:// or https:// address')
    add('target', type=Path, metavar='TARGET', help='file to write: .pth or .safetensors')
    network = parser.add_mutually_exclusive_group()
    depths = f'one of {", ".join(map(str, DEPTHS))} (default: as the names tell)'
    network.add_argument('--depth', type=int, choices=list(DEPTHS), metavar='LAYERS', help=depths)
    network.add_argument('--config', metavar='CONFIG', help='file or name, whose network the weights are of')
    add('--stage', metavar='NAME', help='of a recipe\'s config (default: as the file tells; "bn" of +-1 weights)')
    names = 'names to write: backbone, classifier or timm (default: as much as there is)'
    add('--to', choices=['backbone', 'classifier', 'timm'], metavar='NAMES', help=names)
    add('--prefix', metavar='TEXT', help='take only names that begin so, as backbone. of a detector')
    add_existing(parser)


def configured(path: str, source: str, stage: str | None) -> Config:
    """The ordinary config of the weights in ``source``: of a recipe the stage that is named or that the file tells.

    Weights of exactly +-1 tell the last stage, if that absorbs scales; ``check_absorbed`` looks at them.

    Raises:
        InputError: nothing tells the stage, or the weights are another network's.
    """
    config = load_config(path)
    if stage is None and config.get('stages') and origin_of(fetch_checkpoint(source), source) is None:
        if not chosen_stage(config).get('absorb_scales'):
            stages = ', '.join(config.stages)
            raise InputError(f'{source} does not tell which stage of {path} it is of: name one with --stage ({stages})')
        stage = list(config.stages)[-1]
    return trained_config(config, source, stage=stage)


def run(arguments: argparse.Namespace) -> None:
    if not to_write([arguments.target], arguments, flag='TARGET'):
        return
    network = origin = config = None
    if arguments.config:
        if arguments.to not in (None, 'backbone'):
            raise InputError(f'--to {arguments.to}: with --config the names are those of its model, or --to backbone')
        config = configured(arguments.config, arguments.source, arguments.stage)
        network = build_model(config)
        if arguments.to == 'backbone':
            if not isinstance(getattr(network, 'backbone', None), nn.Module):
                name = type(network).__name__
                raise InputError(f'--to backbone: the {name} of {arguments.config} has no backbone; leave --to out')
            network = network.backbone  # type: ignore[assignment]
        else:
            origin = Origin.of_run(config.to_dict(), config.filename)
    elif arguments.stage:
        raise InputError(f'--stage {arguments.stage} is of a --config; give that too')
    report = convert_checkpoint(
        arguments.source,
        arguments.target,
        to=arguments.to,
        depth=arguments.depth,
        network=network,
        check=partial(check_absorbed, source=arguments.source) if config and config.get('absorb_scales') else None,
        prefix=arguments.prefix,
        origin=origin,
        overwrite=arguments.overwrite,
    )
    print(report)
    print(report.mapping())
    print(f'written and read back: {arguments.target}')
