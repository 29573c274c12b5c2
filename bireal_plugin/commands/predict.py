"""Classes of images by a classifier, or boxes in them by a detector.

bireal predict net.xml photos 'more/*.jpg' --top 3
bireal predict work_dirs/bireal_r18_imagenet/bn/epoch_1.pth photo.jpg --json
bireal predict work_dirs/retinanet/epoch_12.pth photos --out drawn --score-threshold 0.4
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bireal_plugin  # noqa: F401  registers models and transforms
from bireal_plugin.commands.arguments import add_existing, add_trained_options, given_config, positive, to_write
from bireal_plugin.data.image_file import IMAGE_SUFFIXES
from bireal_plugin.depth.inference.inputs import Input, find_inputs
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.models.classifier import BiRealClassifier
from bireal_plugin.shipping.classification import Classifier
from bireal_plugin.shipping.detection import Detector
from bireal_plugin.shipping.preparation import dataset_meta
from bireal_plugin.training.trained import load_trained

# From an image to a JSON object of the results, and to the lines that are printed.
Predict = Callable[[Input], tuple[dict[str, Any], list[str]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.usage = '%(prog)s FILE IMAGE [IMAGE ...] [options]'
    parser.add_argument('file', type=Path, metavar='FILE', help='trained weights or an exported file')
    parser.add_argument(
        'images', nargs='+', metavar='IMAGE', help='image files, folders, globs, or lists of files (.txt)'
    )
    parser.add_argument('--top', type=positive, default=5, metavar='N', help='classes of an image (default: 5)')
    parser.add_argument('--classes', type=Path, metavar='FILE', help='names of the classes, one a line, in their order')
    parser.add_argument('--json', action='store_true', help='print a JSON list instead of text')
    parser.add_argument('--threads', type=positive, metavar='N', help='of the CPU (default: all)')
    detector = parser.add_argument_group('detector')
    detector.add_argument('--out', type=Path, metavar='DIR', help='draw the boxes into pictures there')
    detector.add_argument(
        '--score-threshold', type=float, default=0.3, metavar='S', help='least score of a box, 0 to 1 (default: 0.3)'
    )
    add_existing(detector)
    weights = parser.add_argument_group('trained weights')
    weights.add_argument('--config', metavar='CONFIG', help='file or name (default: the one the checkpoint carries)')
    add_trained_options(weights)
    weights.add_argument(
        '--size', nargs=2, type=positive, metavar=('H', 'W'), help='of images, px (default: as the config tests)'
    )


def run(arguments: argparse.Namespace) -> int:
    """Predict every image; status 1 if there were problems with some."""
    inputs, problems = find_inputs(arguments.images)
    problems += [f'{item.path} is a video; predict takes images' for item in inputs if item.is_video]
    predict = _predictor(arguments)
    results: list[dict[str, Any]] = []
    for problem in problems:
        print(f'error: {problem}', file=sys.stderr, flush=True)
    for item in inputs:
        if item.is_video:
            continue
        try:
            result, lines = predict(item)
        except (InputError, OSError) as error:
            problems.append(str(error))
            print(f'error: {error}', file=sys.stderr, flush=True)
            continue
        results.append(dict(file=str(item.path), **result))
        if not arguments.json:
            print('\n'.join([str(item.path), *(f'  {line}' for line in lines)]), flush=True)
    if arguments.json:
        print(json.dumps(results, indent=2))
    return 1 if problems else 0


def _predictor(arguments: argparse.Namespace) -> Predict:
    """The network in the file, ready to predict."""
    names = _names(arguments.classes)
    if _is_exported(arguments.file) and arguments.config is None:
        for flag in ('size', 'stage', 'cfg_options', 'allow_other_network'):
            if getattr(arguments, flag):
                raise InputError(f'--{flag.replace("_", "-")} belongs to trained weights; {arguments.file} needs none')
        classifier = Classifier.of_file(arguments.file, threads=arguments.threads)
    else:
        model, config = load_trained(
            given_config(arguments, arguments.file),
            arguments.file,
            stage=arguments.stage,
            allow_other_network=arguments.allow_other_network,
        )
        if not isinstance(model, BiRealClassifier):
            detector = Detector(model, config, dataset_meta(arguments.file))
            if names is not None:
                detector.classes = names
            return _of_detector(detector, arguments)
        classifier = Classifier.of_model(model, config, arguments.file, size=arguments.size, threads=arguments.threads)
    if arguments.out is not None:
        raise InputError(f'--out is for the pictures of a detector; {arguments.file} is a classifier')
    if names is not None:
        classifier = classifier.named(names)
    if classifier.preparation.classes is None:
        print('note: names of the classes are not known; --classes FILE gives them', file=sys.stderr)
    return _of_classifier(classifier, arguments)


def _is_exported(file: Path) -> bool:
    return any(file.suffix == engine.suffix for engine in ENGINES.values())


def _of_classifier(classifier: Classifier, arguments: argparse.Namespace) -> Predict:
    def predict(item: Input) -> tuple[dict[str, Any], list[str]]:
        guesses = classifier(item.path, top=arguments.top)
        lines = [f'{guess.probability:6.1%}  {_called(guess.name, guess.index)}' for guess in guesses]
        return dict(classes=[asdict(guess) for guess in guesses]), lines

    return predict


def _of_detector(detector: Detector, arguments: argparse.Namespace) -> Predict:
    def predict(item: Input) -> tuple[dict[str, Any], list[str]]:
        drawing = None
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            suffix = item.path.suffix if item.path.suffix.lower() in IMAGE_SUFFIXES else '.png'
            drawing = next(iter(to_write([arguments.out / f'{item.name}{suffix}'], arguments)), None)
        boxes = detector(item.path, threshold=arguments.score_threshold, drawing=drawing)
        lines = [
            f'{box.score:6.1%}  {_called(box.name, box.index)}  {" ".join(f"{value:.0f}" for value in box.corners)}'
            for box in boxes
        ]
        drawn = {} if drawing is None else dict(picture=str(drawing))
        return dict(boxes=[asdict(box) for box in boxes], **drawn), lines or ['nothing found']

    return predict


def _called(name: str | None, index: int) -> str:
    return f'class {index}' if name is None else name


def _names(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        names = tuple(line.strip() for line in path.read_text(encoding='utf-8').splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise InputError(f'--classes {path} is not UTF-8 text') from error
    if not names:
        raise InputError(f'--classes {path} has no names; give one a line')
    return names
