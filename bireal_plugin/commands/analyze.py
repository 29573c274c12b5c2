"""Draw feature maps, surrogates, weights, activations (Fig. 1, 7 to 9), training curves: PNG, SVG.

bireal analyze --out pictures                                  the surrogates of sign
bireal analyze work_dirs/bireal_r18_digits --out pictures      all pictures
bireal analyze work_dirs/bireal_r18_digits/binary/epoch_12.pth --out pictures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bireal_plugin.commands.arguments import add_trained_options, positive
from bireal_plugin.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [SOURCE] --out DIR [options]'
    add = parser.add_argument
    add('source', nargs='?', metavar='SOURCE', help='checkpoint or work directory; without it the surrogates alone')
    add('--out', required=True, type=Path, metavar='DIR', help='folder for the pictures')
    add('--images', type=positive, default=128, metavar='N', help='test images for maps and activations (default: 128)')
    add_trained_options(parser, config=True)


def run(arguments: argparse.Namespace) -> None:
    from bireal_plugin.studies.figures import pictures  # here, so that lack of matplotlib is a sentence

    options = dict(config=arguments.config, overrides=arguments.cfg_options)
    options |= dict(stage=arguments.stage, allow_other_network=arguments.allow_other_network)
    if arguments.source is None:
        written = pictures.draw_surrogates(arguments.out / 'fig7_surrogates')
    elif Path(arguments.source).is_dir():
        written = pictures.of_work_dir(Path(arguments.source), arguments.out, images=arguments.images, **options)
    elif Path(arguments.source).is_file():
        written = pictures.of_checkpoint(Path(arguments.source), arguments.out, **options)
    else:
        raise InputError(f'{arguments.source} does not exist; give a checkpoint or a work directory')
    for path in written:
        print(path)
