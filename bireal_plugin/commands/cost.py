"""Memory and bit-operations of a network, layer by layer (Table 5).

bireal cost bireal_r18_imagenet
bireal cost timm:resnet50 --size 160 160
"""

from __future__ import annotations

import argparse

import timm

from bireal_plugin.commands.arguments import Renamed, add_size, is_weights, positive
from bireal_plugin.cost import model_cost
from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError
from bireal_plugin.shipping.network import taken_size
from bireal_plugin.training.config import load_config
from bireal_plugin.training.image_size import tested_size
from bireal_plugin.training.recipe import build_model, chosen_stage
from bireal_plugin.training.trained import trained_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s MODEL [options]'
    parser.add_argument('model', metavar='MODEL', help='config, file or name; trained weights; or timm:NAME')
    parser.add_argument('--stage', metavar='NAME', help="of a recipe's config (default: the last)")
    add_size(parser, 'of the image, px (default: as the config tests)')
    parser.add_argument('--shape', dest='size', action=Renamed, now='--size H W', nargs=2, type=positive)


def run(arguments: argparse.Namespace) -> None:
    source: str = arguments.model
    if source.startswith('timm:'):
        name = source.removeprefix('timm:')
        if not timm.is_model(name):
            raise InputError(f'{source}: timm has no model {name!r}; timm.list_models() lists them')
        model, size, words = timm.create_model(name), arguments.size, 'as --size says'
        if size is None:
            size, words = input_shape(model)[1:], 'as timm says'
    elif is_weights(source):
        config = trained_config(None, source, stage=arguments.stage)
        model = build_model(config)
        size, words = taken_size(arguments.size, None, config, source)
    else:
        config = chosen_stage(load_config(source), arguments.stage)
        model = build_model(config)
        size, words = (arguments.size, 'as --size says') if arguments.size else (tested_size(config), 'as it tests')
    stage = '' if source.startswith('timm:') or not config.get('stage') else f', stage {config.stage}'
    print(f'{source}{stage}: images of {size[0]} x {size[1]} ({words})')
    cost = model_cost(model, (input_shape(model)[0], *size))
    print(cost.table())
    if extra := cost.second_stream:
        print(
            f'narrow_shortcut, which carries the second stream across stages, is {extra.real_parameters:,} of the real '
            f'parameters and {extra.real_macs:,} of the real MACs: a ResNet of this depth has none'
        )
