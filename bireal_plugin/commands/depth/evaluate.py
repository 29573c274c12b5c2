"""Depth errors as the literature counts them, on KITTI or on rendered streets.

bireal depth evaluate --disparities sgbm --raw kitti --split eigen_test_files.txt --cap 50 80
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from bireal_plugin.commands.arguments import add_existing, positive, to_write
from bireal_plugin.commands.depth.infer import add_network, predictor_of
from bireal_plugin.depth.camera import PLACES
from bireal_plugin.depth.evaluation.cases import (
    CaseList,
    Predictions,
    by_mean,
    by_network,
    by_sgbm,
    kitti_cases,
    street_cases,
)
from bireal_plugin.depth.evaluation.files import from_files
from bireal_plugin.depth.evaluation.metrics import CROPS
from bireal_plugin.depth.evaluation.scoring import Scoring, evaluate, evaluation_table, write_scores
from bireal_plugin.depth.kitti.ground_truth import TRUTHS
from bireal_plugin.depth.kitti.raw import RawFolder
from bireal_plugin.depth.kitti.splits import Need
from bireal_plugin.errors import InputError
from bireal_plugin.progress import say

SGBM = 'sgbm'


def metres(text: str) -> float:
    """A positive length."""
    with suppress(ValueError):
        if 0 < (value := float(text)) < float('inf'):
            return value
    raise argparse.ArgumentTypeError(f'must be a positive number of metres, not {text}')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [CHECKPOINT] [--raw ROOT | --streets N] [options]'
    add = parser.add_argument_group('predictions, one of').add_argument
    checkpoint = 'trained weights, exported file or zoo://'
    add('checkpoint', nargs='?', metavar='CHECKPOINT', help=checkpoint)
    files = 'folder of .npy (px) or 16-bit .png (px x 256), .npy or .npz of all, or'
    add('--disparities', metavar='PATH', help=f'{files} {SGBM}')
    add('--depths', type=Path, metavar='PATH', help='likewise, in m or m x 256')
    add('--mean-of', type=Path, metavar='ROOT', help='the mean of what SGBM sees in these recordings, for every image')
    add('--unit', choices=['px', 'width'], metavar='UNIT', help='of disparities: px, or width for shares of it')
    cropped = 'predictions are bottom or centre crops of the images, or no crops'
    add('--cropped', choices=[*PLACES, 'no'], metavar='PLACE', help=cropped)
    add_network(parser.add_argument_group('network'))
    add = parser.add_argument_group('images, one of --raw and --streets').add_argument
    add('--raw', type=Path, metavar='ROOT', help='folder of KITTI raw recordings')
    split = "list of frames, or Garg's test or train drives (default: all)"
    add('--split', default='all', metavar='FILE', help=split)
    truth = f'{", ".join(TRUTHS)} (default: lidar; velodyne: its x)'
    add('--truth', choices=[*TRUTHS], default='lidar', metavar='NAME', help=truth)
    add('--annotated', type=Path, metavar='DIR', help='annotated depth maps apart from the recordings')
    add('--streets', type=positive, metavar='N', help='N rendered streets with exact depth')
    add('--seed', type=int, default=0, metavar='N', help='of the streets (default: 0)')
    add('--street-size', nargs=2, type=int, default=[96, 320], metavar=('H', 'W'), help='px (default: 96 320)')
    scoring = parser.add_argument_group('scoring and output')
    add = scoring.add_argument
    add('--cap', nargs='+', type=metres, default=[80.0], metavar='M', help='farthest depths, m (default: 80)')
    crop = f'{", ".join(CROPS)} (default: garg; none for streets)'
    add('--crop', choices=[*CROPS], metavar='NAME', help=crop)
    add('--baseline', type=metres, metavar='M', help="instead of the calibration's, m, such as 0.54")
    add('--median-scaling', action='store_true', help='for networks trained without a scale')
    add('--filled-only', action='store_true', help='leave out pixels without a prediction')
    add('--csv', type=Path, metavar='FILE', help='the errors of each image')
    add('--png', type=Path, metavar='DIR', help='predictions as 16-bit pictures of m x 256')
    add_existing(scoring)


def chosen_predictions(arguments: argparse.Namespace, cases: CaseList) -> Predictions:
    """The one source of predictions that was given."""
    given = [arguments.checkpoint, arguments.disparities, arguments.depths, arguments.mean_of]
    if sum(source is not None for source in given) != 1:
        raise InputError('give one of a checkpoint, --disparities DIR or sgbm, --depths DIR, and --mean-of ROOT')
    if arguments.checkpoint is None:
        for flag in ('config', 'stage', 'allow_other_network', 'size', 'threads', 'flip'):
            if getattr(arguments, flag):
                raise InputError(f'--{flag.replace("_", "-")} belongs to a checkpoint; leave it out')
    if arguments.depths is None and arguments.disparities in (None, SGBM) and (arguments.unit or arguments.cropped):
        raise InputError('--unit and --cropped belong to files of predictions; leave them out')
    if arguments.depths is not None:
        if arguments.unit:
            raise InputError('--unit is that of disparities, and depths are in m; leave it out')
        return from_files(arguments.depths, 'depth', cases, cropped=arguments.cropped)
    if arguments.disparities == SGBM:
        return by_sgbm()
    if arguments.mean_of is not None:
        return by_mean(RawFolder(arguments.mean_of))
    if arguments.disparities is not None:
        place, options = Path(arguments.disparities), dict(unit=arguments.unit, cropped=arguments.cropped)
        return from_files(place, 'disparity', cases, **options)
    own_baseline = arguments.baseline is not None
    return by_network(predictor_of(arguments), flip=arguments.flip, own_baseline=own_baseline)


def chosen_cases(arguments: argparse.Namespace) -> CaseList:
    """The recordings or the streets."""
    if (arguments.raw is None) == (arguments.streets is None):
        raise InputError('give either --raw ROOT, a folder of KITTI raw recordings, or --streets N')
    if arguments.raw is None:
        if arguments.split != 'all' or arguments.truth != 'lidar' or arguments.annotated is not None:
            raise InputError('--split, --truth and --annotated belong to --raw; leave them out with --streets')
        return street_cases(arguments.streets, arguments.street_size, seed=arguments.seed, baseline=arguments.baseline)
    raw = RawFolder(arguments.raw, annotated=arguments.annotated)
    need: Need = 'pair' if arguments.disparities == SGBM else 'left'
    return kitti_cases(raw, arguments.split, arguments.truth, need=need, baseline=arguments.baseline)


def run(arguments: argparse.Namespace) -> int:
    cases = chosen_cases(arguments)
    predictions = chosen_predictions(arguments, cases)
    pictures = {arguments.png / f'{case.name}.png': case.name for case in cases.cases} if arguments.png else {}
    csv = [] if arguments.csv is None else [arguments.csv]
    wanted = to_write([*csv, *pictures], arguments, '--csv or --png')
    if arguments.png:
        arguments.png.mkdir(parents=True, exist_ok=True)
    caps = tuple(dict.fromkeys(arguments.cap))
    scoring = Scoring(caps, arguments.crop or cases.crop, arguments.median_scaling, arguments.filled_only)
    png = {pictures[path]: path for path in wanted if path in pictures}
    evaluation = evaluate(
        cases, predictions, scoring, png=png, complain=lambda sentence: say(f'error: {sentence}', file=sys.stderr)
    )
    named = '; '.join([predictions.name, *predictions.notes])
    print(evaluation_table(evaluation, predictions=named, ground_truth=cases.ground_truth))
    if arguments.csv in wanted:
        write_scores(arguments.csv, evaluation)
    return 1 if evaluation.failures else 0
