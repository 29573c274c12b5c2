"""Verify exported files against the trained network that they were written from.

bireal verify net.xml net.onnx --checkpoint work_dirs/bireal_r18_digits/bn/epoch_1.pth
bireal verify net_int8.xml --real-layers int8 --checkpoint CHECKPOINT --on photos

Every layer is compared on the engine's own inputs, then the outputs of the whole network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bireal_plugin.commands.arguments import add_trained_options, positive, trained
from bireal_plugin.commands.export import add_part, demands, print_shipment
from bireal_plugin.shipping.network import load_network
from bireal_plugin.shipping.ship import check
from bireal_plugin.zoo import local_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s FILE [FILE ...] --checkpoint CHECKPOINT [options]'
    add = parser.add_argument
    add('files', nargs='+', metavar='FILE', help='exported files, or zoo://')
    add('--checkpoint', required=True, metavar='CHECKPOINT', help='file of trained weights')
    add_trained_options(parser, config=True)
    precision = 'f32, f16, bf16 or int8, of the files (default: f32; packed files tell theirs)'
    add('--real-layers', choices=['f32', 'f16', 'bf16', 'int8'], default='f32', metavar='TYPE', help=precision)
    add('--on', type=Path, metavar='DIR', help="images to run on (default: the config's test data)")
    add('--images', type=positive, metavar='N', help='number of them (default: 256; feature maps: 8)')
    add_part(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the table of the comparison; status 1 if a file fails."""
    shipment = check(
        [local_file(file) for file in arguments.files],
        arguments.real_layers,
        lambda: load_network(**trained(arguments, arguments.checkpoint), part=arguments.part),
        verify_on=arguments.on,
        images=arguments.images,
        demands=demands(arguments),
    )
    return print_shipment(shipment)
