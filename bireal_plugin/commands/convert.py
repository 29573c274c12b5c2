"""Rewrite foreign weights under the names of this package: the published Bi-Real 18, 34 and 50, any ResNet, our own.

bireal convert birealnet18.pth.tar bireal18.pth
bireal convert birealnet18.pth.tar bireal18.safetensors --to timm
bireal convert torchvision://resnet50 start50.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import nn

import bireal_plugin  # noqa: F401  registers models and address schemes
from bireal_plugin.errors import InputError
from bireal_plugin.models.resnet import DEPTHS
from bireal_plugin.models.rewritten_checkpoint import convert_checkpoint
from bireal_plugin.training.config import load_config
from bireal_plugin.training.recipe import stage_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('source', help='checkpoint file, or torchvision://, timm://, open-mmlab://, https:// address')
    parser.add_argument('target', type=Path, help='file to write: .pth or .safetensors')
    network = parser.add_mutually_exclusive_group()
    network.add_argument('--depth', type=int, choices=list(DEPTHS), help='by default as the names in the file tell')
    network.add_argument('--config', help='config whose model the weights are of (of a recipe: its last stage)')
    parser.add_argument(
        '--to',
        choices=['backbone', 'classifier', 'timm'],
        help="whose names to write (default: classifier where the file has one, else backbone; the config's model)",
    )
    parser.add_argument('--prefix', help='use only what stands behind this prefix, e.g. backbone. of a detector')
    parser.add_argument('--overwrite', action='store_true', help='replace the target if it exists')


def configured(path: str, *, backbone: bool) -> nn.Module:
    """The model of a config, or its backbone."""
    model = stage_model(load_config(path))
    if not backbone:
        return model
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        raise InputError(f'--to backbone: the {type(model).__name__} of {path} has no backbone; leave --to out')
    return model.backbone  # type: ignore[return-value]


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
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
