"""Memory and bit-operations of a network, layer by layer (Table 5).

bireal cost bireal_r18_imagenet
bireal cost timm:resnet50 --size 160 160
"""

from __future__ import annotations

import argparse

import timm

from bireal_plugin.commands.arguments import Renamed, add_size, positive
from bireal_plugin.cost import model_cost
from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError
from bireal_plugin.shipping.network import tested_size
from bireal_plugin.training.config import load_config
from bireal_plugin.training.recipe import stage_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s MODEL [--size H W]'
    parser.add_argument('model', metavar='MODEL', help='config, file or name; or timm:NAME')
    add_size(parser, 'of the image, px (default: as the config tests)')
    parser.add_argument('--shape', dest='size', action=Renamed, now='--size H W', nargs=2, type=positive)


def run(arguments: argparse.Namespace) -> None:
    source: str = arguments.model
    if source.startswith('timm:'):
        name = source.removeprefix('timm:')
        if not timm.is_model(name):
            raise InputError(f'{source}: timm has no model {name!r}; timm.list_models() lists them')
        model = timm.create_model(name)
        size = arguments.size or input_shape(model)[1:]
    else:
        config = load_config(source)
        model = stage_model(config)
        size = arguments.size or tested_size(config, model)
    print(model_cost(model, (input_shape(model)[0], *size)).table())
