"""Depth maps of images and videos by a network with 1-bit convolutions.

bireal depth infer photo.jpg --checkpoint net.xml --focal 1380 --save png16 npy --at 600,200
bireal depth infer kitti/2011_09_26/2011_09_26_drive_0048_sync/image_02/data --checkpoint net.xml
bireal depth infer drive.mp4 --checkpoint epoch_10.pth --save side
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from bireal_plugin.commands.arguments import Words, add_existing, add_trained_options, positive, trained
from bireal_plugin.data.image_file import MAX_PIXELS, allow_pixels
from bireal_plugin.depth.camera import PLACES
from bireal_plugin.depth.inference.batch import Wanted
from bireal_plugin.depth.inference.inputs import CameraChoice, find_inputs
from bireal_plugin.depth.inference.outputs import MAX_DEPTH, SUFFIXES, Style, check_forms
from bireal_plugin.depth.inference.pictures import MAPS
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.inference.run import infer
from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import Precision
from bireal_plugin.progress import say
from bireal_plugin.studies.speed.depth_rate import compare
from bireal_plugin.zoo import STREETS


def whole_numbers(count: int, text: str) -> tuple[int, ...]:
    """``count`` whole numbers with commas between them."""
    parts = text.split(',')
    if len(parts) != count or not all(part.strip().lstrip('-').isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f'must be {count} whole numbers with commas between them, not {text}')
    return tuple(int(part) for part in parts)


point, box = partial(whole_numbers, 2), partial(whole_numbers, 4)


def add_network(group: argparse._ActionsContainer) -> None:
    """Options of the network and its run; see ``predictor_of``."""
    add_trained_options(group, config=True, brief=True)
    group.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'), help='of the input, px (default: as trained)')
    group.add_argument('--flip', action='store_true', help='average with the mirror image: better, half as fast')
    group.add_argument('--threads', type=positive, metavar='N', help='of the CPU (default: all)')


def predictor_of(arguments: argparse.Namespace, real_layers: Precision = 'f32') -> Predictor:
    """The network that the checkpoint and the options of ``add_network`` name."""
    options = dict(size=arguments.size, real_layers=real_layers, threads=arguments.threads)
    return Predictor(**trained(arguments, arguments.checkpoint), **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s INPUT [INPUT ...] [--checkpoint FILE] [options]'
    inputs = 'images, videos, folders, globs, lists (.txt), webcams (0), addresses, -'
    images = parser.add_argument_group('images')
    images.add_argument('inputs', nargs='+', metavar='INPUT', help=inputs)
    pixels = f'of an image, beyond which it is refused (default: {MAX_PIXELS // 10**6} million)'
    images.add_argument('--max-pixels', type=positive, default=MAX_PIXELS, metavar='N', help=pixels)
    network = parser.add_argument_group('network')
    checkpoint = f'weights or exported file (default: {STREETS})'
    network.add_argument('--checkpoint', metavar='FILE', help=checkpoint)
    add_network(network)
    network.add_argument('--real-layers', choices=['f32', 'bf16'], default='f32', help='of an .xml (default: f32)')
    camera = parser.add_argument_group("camera (default: KITTI's calibration where an image lies beside one)")
    add = camera.add_argument
    add('--calibration', type=Path, metavar='FILE', help='a calib_cam_to_cam.txt for all inputs')
    add('--focal', type=float, metavar='PX', help="focal length in px of the image's own width")
    baseline = "of the stereo pairs in training, instead of the network's own"
    add('--baseline', type=float, metavar='METRES', help=baseline)
    cropped = "inputs are bottom or centre crops of the calibration's images"
    add('--cropped', choices=[*PLACES], metavar='PLACE', help=cropped)
    add('--relative', action='store_true', help='no metres, whatever calibration there is')
    output = parser.add_argument_group('output')
    add = output.add_argument
    add('--out', type=Path, default=Path('depth_maps'), metavar='DIR', help='for the files (default: depth_maps)')
    forms = f'some of {", ".join(SUFFIXES)} (default: colour)'
    add('--save', action=Words, default=['colour'], metavar='FORM', help=forms)
    add('--jpeg', action='store_true', help='pictures as JPEG instead of PNG: smaller, and faster to write')
    add_existing(output)
    add('--at', type=point, action='append', default=[], metavar='X,Y', help='print the depth at a pixel, m')
    median = 'print the median depth of a box, m'
    add('--box', type=box, action='append', default=[], metavar='X0,Y0,X1,Y1', help=median)
    colours = "depths of the end colours, m (default: the image's)"
    add('--range', type=float, nargs=2, metavar=('MIN', 'MAX'), help=colours)
    add('--colours', choices=[*MAPS], default='magma', metavar='NAME', help=f'{", ".join(MAPS)}')
    timed = 'keep no file; say the rate, and that of the network alone'
    add('--benchmark', action='store_true', help=timed)
    add('--max-depth', type=float, default=MAX_DEPTH, metavar='METRES', help='of points in a .ply (default: 80)')


def run(arguments: argparse.Namespace) -> int:
    check_forms(arguments.save, flip=arguments.flip)
    allow_pixels(arguments.max_pixels)
    style = Style(arguments.colours, tuple(arguments.range) if arguments.range else None, arguments.max_depth)
    files = (arguments.overwrite, arguments.skip_existing, arguments.jpeg)
    wanted = Wanted(arguments.out, arguments.save, style, arguments.at, arguments.box, arguments.flip, *files)
    camera = (arguments.calibration, arguments.focal, arguments.baseline, arguments.relative, arguments.cropped)
    cameras = CameraChoice(*camera)
    if arguments.checkpoint is None:
        arguments.checkpoint = STREETS
        told = f'no --checkpoint, so {STREETS}: trained on rendered streets, and not to be trusted on photographs'
        say(f'note: {told}', file=sys.stderr)
    inputs, problems = find_inputs(arguments.inputs)
    predictor = predictor_of(arguments, arguments.real_layers)
    cameras = replace(cameras, trained_on=predictor.trained_on, network=predictor.source, size=predictor.size)
    cameras.check()
    if arguments.benchmark:
        if problems:
            raise InputError(problems[0])
        print(compare(inputs, predictor, cameras, wanted))
        return 0
    outcome = infer(inputs, predictor, cameras, wanted, problems=problems)
    print(outcome)
    return 1 if outcome.problems else 0
