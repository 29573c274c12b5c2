"""Write a trained network to files that engines run, and verify them against the checkpoint.

bireal export work_dirs/bireal_r18_digits/bn/epoch_1.pth --format packed openvino --verify
bireal export zoo://bireal_r18_digits --format c onnx
bireal export CHECKPOINT --format openvino --real-layers f32 int8 --calibrate photos --verify photos
bireal export retinanet_bireal_r18_fpn_1x_coco CHECKPOINT --size 800 1344 --verify photos
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bireal_plugin.commands.arguments import Renamed, Words, add_existing, add_size, add_trained, positive, trained
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.folding.layers import FoldedLayer
from bireal_plugin.shipping.limits import Demands
from bireal_plugin.shipping.network import Network, load_network
from bireal_plugin.shipping.ship import Order, Shipment, ship
from bireal_plugin.training.trained import checkpoint_name
from bireal_plugin.zoo import is_address, name_in

OLDER_PRECISIONS = {'float32': 'f32', 'float16': 'f16', 'bfloat16': 'bf16'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_order(parser, formats=['packed', 'openvino', 'onnx'], images='256, or 8 where outputs are feature maps')
    add_part(parser)


def add_part(parser: argparse.ArgumentParser) -> None:
    """``--max-loss``, ``--min-agreement`` and ``--part``, which depth networks have not."""
    points = 'of top-1 accuracy that may be lost where labels are known (default: 0.5; int8 1.5)'
    parser.add_argument('--max-loss', type=float, metavar='POINTS', help=points)
    share = 'of equal classes (default without labels, where the network is sure: 0.995, f16 0.99, others 0.95)'
    parser.add_argument('--min-agreement', type=float, metavar='SHARE', help=share)
    part = 'of a detector: backbone or backbone+neck'
    parser.add_argument('--part', choices=['backbone', 'backbone+neck'], metavar='PART', help=part)


def add_order(parser: argparse.ArgumentParser, *, formats: list[str], images: str) -> None:
    """Arguments of every export; ``shipped`` reads them.

    Args:
        formats: written by default. images: number to verify on by default, in words.
    """
    parser.usage = '%(prog)s [CONFIG] CHECKPOINT [options]'
    add_trained(parser)
    add = parser.add_argument
    known = f'some of {", ".join(ENGINES)} (default: {", ".join(formats)})'
    add('--format', action=Words, default=formats, metavar='NAME', help=known)
    precisions = 'some of f32, f16, bf16, int8; formats take those they have (default: f32)'
    add('--real-layers', action=Words, older=OLDER_PRECISIONS, default=['f32'], metavar='TYPE', help=precisions)
    add_size(parser, 'of images, px (default: as trained)')
    add('--batch', type=positive, default=1, metavar='N', help='images in a run (default: 1)')
    add('--shape', dest='size', action=Renamed, now='--size H W, and --batch N', nargs='+', type=int)
    add('--opset', type=positive, metavar='N', help='of ONNX files (default: 18)')
    add('--calibrate', type=Path, metavar='DIR', help="images for int8 (default: the config's training data)")
    verify = "run every file on images of DIR, or on the config's test data"
    add('--verify', nargs='?', const=True, metavar='DIR', help=verify)
    add('--images', type=positive, metavar='N', help=f'to verify on (default: {images})')
    add('--out', type=Path, metavar='DIR', help='for the files (default: export beside the checkpoint)')
    add('--name', metavar='NAME', help="of the files, without suffix (default: the config's)")
    add_existing(parser)


def run(arguments: argparse.Namespace) -> int:
    return shipped(arguments, load_network, part=arguments.part)


def shipped(arguments: argparse.Namespace, load: Callable[..., Network], **options: str | None) -> int:
    """Ship the network that ``load`` gives, and print the table; the exit status.

    Args:
        load: ``load_network``, or a function with its arguments. options: for it.
    """
    batch, channels, size = _shape(arguments.size, arguments.batch)
    address = is_address(arguments.checkpoint)
    name = name_in(arguments.checkpoint) if address else checkpoint_name(arguments.checkpoint)
    order = Order(
        formats=arguments.format,
        precisions=arguments.real_layers,
        folder=arguments.out or (Path() if address else Path(arguments.checkpoint).parent) / 'export',
        name=arguments.name or (Path(arguments.config).stem if arguments.config else name),
        batch=batch,
        calibrate=arguments.calibrate,
        verify=bool(arguments.verify),
        verify_on=None if arguments.verify in (None, True) else Path(arguments.verify),
        images=arguments.images,
        demands=demands(arguments),
        overwrite=arguments.overwrite,
        skip_existing=arguments.skip_existing,
        opset=arguments.opset,
    )
    if arguments.opset and 'onnx' not in arguments.format:
        raise InputError(f'--opset is of ONNX files, and --format has {" ".join(arguments.format)} alone; add onnx')

    def network() -> Network:
        found = load(**trained(arguments, arguments.checkpoint), size=size, **options)
        if channels not in (None, found.channels):
            raise InputError(f'--shape: the network takes images of {found.channels} channels, not {channels}')
        shape = 'x'.join(map(str, (batch, found.channels, *found.size)))
        part = f', its {found.part} alone,' if found.part else ''
        print(f'{arguments.checkpoint}{part} for inputs {shape} ({found.size_source}), to {order.folder}', flush=True)
        if not any(isinstance(module, FoldedLayer) for module in found.model.modules()):
            print('a real network: none of its layers is 1-bit', flush=True)
        return found

    return print_shipment(ship(order, network))


def demands(arguments: argparse.Namespace) -> Demands:
    """The demands of ``add_part``; the usual ones of a command without it."""
    return Demands(getattr(arguments, 'min_agreement', None), getattr(arguments, 'max_loss', None))


def print_shipment(shipment: Shipment) -> int:
    """Print the table on stdout and the problems on stderr; the exit status."""
    print(shipment.table)
    for problem in shipment.problems:
        print(f'error: {problem}', file=sys.stderr)
    return 1 if shipment.problems else 0


def _shape(given: Sequence[int] | None, batch: int) -> tuple[int, int | None, tuple[int, int] | None]:
    """Batch size, channels and (H, W) of ``H W`` or of the older ``N C H W``; None for those that were not given."""
    if given is None:
        return batch, None, None
    if len(given) not in (2, 4) or min(given) < 1:
        raise InputError(f'--shape takes H W or N C H W, all positive, not {" ".join(map(str, given))}')
    return (batch, None, (given[0], given[1])) if len(given) == 2 else (given[0], given[1], (given[2], given[3]))
