"""Verify exported files against the trained network that they were written from.

bireal verify net.xml net.onnx --checkpoint work_dirs/bireal_r18_digits/bn/epoch_1.pth
bireal verify net_int8.xml --checkpoint CHECKPOINT --on photos
bireal verify net.c net.xml --checkpoint CHECKPOINT --beside float.xml --picture pictures

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
    precision = 'f32 or bf16, of files that do not tell theirs (default: f32)'
    add('--real-layers', choices=['f32', 'f16', 'bf16', 'int8'], default='f32', metavar='TYPE', help=precision)
    add('--on', type=Path, metavar='DIR', help="images to run on (default: the config's test data)")
    add('--images', type=positive, metavar='N', help='number of them (default: 256; feature maps: 8)')
    add_part(parser)
    others = 'exported files of other networks, such as the float one, to run on the same images in turn'
    add('--beside', nargs='+', default=[], metavar='FILE', help=others)
    add('--picture', type=Path, metavar='DIR', help='draw accuracy, time and size of all files there: PNG, SVG')


def run(arguments: argparse.Namespace) -> int:
    """Print the table of the comparison; status 1 if a file fails."""
    if arguments.picture:
        from bireal_plugin.studies.figures.choice import draw_choice  # here, so that lack of matplotlib is a sentence
    shipment = check(
        [local_file(file) for file in arguments.files],
        arguments.real_layers,
        lambda: load_network(**trained(arguments, arguments.checkpoint), part=arguments.part),
        others=[local_file(file) for file in arguments.beside],
        verify_on=arguments.on,
        images=arguments.images,
        demands=demands(arguments),
    )
    status = print_shipment(shipment)
    if arguments.picture:
        for path in draw_choice(shipment.verifications, arguments.picture / 'accuracy_time_size'):
            print(path)
    return status
