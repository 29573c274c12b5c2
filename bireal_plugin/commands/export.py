"""Write a trained network to files that engines run, and verify them against the checkpoint.

bireal export work_dirs/bireal_r18_digits/bn/epoch_1.pth --format packed openvino --verify
bireal export CHECKPOINT --format openvino --real-layers f32 int8 --calibrate photos --verify photos
bireal export retinanet_bireal_r18_fpn_1x_coco CHECKPOINT --size 800 1344 --verify photos
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import Config, DictAction

from bireal_plugin import BiRealClassifier
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.shipping.artefacts import export_all, mark_all, plan, refuse_existing
from bireal_plugin.shipping.images import Batch, batches, dataset_images, folder_images
from bireal_plugin.shipping.network import Network, as_shape, load_network, tested_size
from bireal_plugin.shipping.table import export_table, verification_table
from bireal_plugin.shipping.verify.verify import verify
from bireal_plugin.training.config import load_config
from bireal_plugin.training.trained import trained_config

CALIBRATION_IMAGES = 128


def positive(text: str) -> int:
    """A number of images."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number of 1 or more, not {text}')
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', type=Path, help='checkpoint file')
    parser.add_argument(
        '--format', default='packed,openvino,onnx', metavar='NAMES', help=f'some of {",".join(ENGINES)}, with commas'
    )
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='SIZE',
        help='N C H W, or H W of one image; by default as the config tests',
    )
    parser.add_argument(
        '--real-layers', default='f32', metavar='TYPES', help='some of f32,f16,bf16,int8; formats take those they have'
    )
    parser.add_argument(
        '--calibrate', type=Path, metavar='DIR', help="images for int8; by default the config's training data"
    )
    parser.add_argument(
        '--verify',
        nargs='?',
        const=True,
        metavar='DIR',
        help="run every file on images of DIR, or the config's test data",
    )
    parser.add_argument(
        '--images', type=positive, help='how many to verify on; 256, or 8 where outputs are feature maps'
    )
    parser.add_argument(
        '--min-agreement',
        type=float,
        metavar='SHARE',
        help='of equal classes: 0.995, f16 0.99, bf16 and int8 0.95 by default',
    )
    parser.add_argument('--part', choices=['backbone', 'backbone+neck'], help='of a detector, by default with the neck')
    parser.add_argument('--stage', metavar='NAME', help="the checkpoint's stage; by default the one it carries")
    parser.add_argument('--out', type=Path, help='folder for the files; export beside the checkpoint by default')
    parser.add_argument('--name', help="the files' name without suffix; the config's by default")
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')


def images_of(
    source: Path | None, split: str, count: int, config: Config, network: Network, shape: tuple
) -> list[Batch]:
    """Batches from a folder, or from the config's data."""
    if source is None:
        return list(batches(dataset_images(config, split, count), network, shape))
    return list(batches(folder_images(source, config, network, count), network, shape))


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    folder = arguments.out or arguments.checkpoint.parent / 'export'
    name = arguments.name or Path(arguments.config).stem
    wanted = plan(arguments.format.split(','), arguments.real_layers.split(','), folder, name)
    if not arguments.overwrite:
        refuse_existing(wanted)
    config = trained_config(
        load_config(arguments.config, arguments.cfg_options), arguments.checkpoint, stage=arguments.stage
    )
    network = load_network(config, arguments.checkpoint, part=arguments.part)
    shape = as_shape(arguments.shape or tested_size(config, network.model), network.channels)
    print(f'{arguments.checkpoint} for inputs {"x".join(map(str, shape))}, to {folder}', flush=True)

    def calibration() -> list:
        found = images_of(arguments.calibrate, 'train', CALIBRATION_IMAGES, config, network, shape)
        return [batch.images for batch in found]

    folder.mkdir(parents=True, exist_ok=True)
    artefacts, problems = export_all(wanted, network, shape, calibration)
    if arguments.verify and artefacts:
        source = None if arguments.verify is True else Path(arguments.verify)
        count = arguments.images or (256 if isinstance(network.model, BiRealClassifier) else 8)
        found = verify(
            artefacts,
            network.model,
            images_of(source, 'test', count, config, network, shape),
            min_agreement=arguments.min_agreement,
        )
        mark_all(found)
        print(verification_table(found))
        problems += [f'{row.artefact.name}: {reason}' for row in found for reason in row.reasons]
    elif artefacts:
        print(export_table(artefacts))
    for problem in problems:
        print(f'error: {problem}', file=sys.stderr)
    return 1 if problems else 0
