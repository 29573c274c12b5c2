"""Rewrite weights under the names of this package: the published Bi-Real networks, any ResNet.

bireal convert birealnet18.pth.tar bireal18.pth
bireal convert birealnet18.pth.tar bireal18.safetensors --to timm
bireal convert torchvision://resnet50 start50.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import nn

from bireal_plugin.commands.arguments import add_existing, to_write
from bireal_plugin.errors import InputError
from bireal_plugin.models.resnet import DEPTHS
from bireal_plugin.models.rewritten_checkpoint import convert_checkpoint
from bireal_plugin.training.config import load_config
from bireal_plugin.training.recipe import stage_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s SOURCE TARGET [options]'
    add = parser.add_argument
    add('source', metavar='SOURCE', help='file, or torchvision://, timm://, open-mmlab:// or https:// address')
    add('target', type=Path, metavar='TARGET', help='file to write: .pth or .safetensors')
    network = parser.add_mutually_exclusive_group()
    depths = '18 to 152 (default: as the names tell)'
    network.add_argument('--depth', type=int, choices=list(DEPTHS), metavar='LAYERS', help=depths)
    network.add_argument('--config', metavar='CONFIG', help='file or name, whose last stage the weights are of')
    names = 'names to write: backbone, classifier or timm (default: as much as there is)'
    add('--to', choices=['backbone', 'classifier', 'timm'], metavar='NAMES', help=names)
    add('--prefix', metavar='TEXT', help='take only names that begin so, as backbone. of a detector')
    add_existing(parser)


def configured(path: str, *, backbone: bool) -> nn.Module:
    """The model of a config, or its backbone."""
    model = stage_model(load_config(path))
    if not backbone:
        return model
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        raise InputError(f'--to backbone: the {type(model).__name__} of {path} has no backbone; leave --to out')
    return model.backbone  # type: ignore[return-value]


def run(arguments: argparse.Namespace) -> None:
    if not to_write([arguments.target], arguments, flag='TARGET'):
        return
    network = None
    if arguments.config:
        if arguments.to not in (None, 'backbone'):
            raise InputError(f'--to {arguments.to}: with --config the names are those of its model, or --to backbone')
        network = configured(arguments.config, backbone=arguments.to == 'backbone')
    report = convert_checkpoint(
        arguments.source,
        arguments.target,
        to=arguments.to,
        depth=arguments.depth,
        network=network,
        prefix=arguments.prefix,
        overwrite=arguments.overwrite,
    )
    print(report)
    print(report.mapping())
    print(f'written and read back: {arguments.target}')
