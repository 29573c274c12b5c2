"""Classes of images by a classifier, or boxes in them by a detector.

bireal predict photo.jpg
bireal predict net.xml photos 'more/*.jpg' --top 3
bireal predict work_dirs/bireal_r18_imagenet/bn/epoch_1.pth photo.jpg --json
bireal predict work_dirs/retinanet/epoch_12.pth photos --out drawn --score-threshold 0.4
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bireal_plugin.commands.arguments import add_existing, add_size, add_trained_options, positive, to_write, trained
from bireal_plugin.data.image_file import WRITABLE_SUFFIXES
from bireal_plugin.depth.inference.inputs import Input, find_inputs, names_input
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.models.classifier import BiRealClassifier
from bireal_plugin.shipping.classification import Classifier, Preparation, class_names, dataset_meta
from bireal_plugin.shipping.detection import Detector
from bireal_plugin.shipping.network import taken_size
from bireal_plugin.training.trained import load_trained
from bireal_plugin.zoo import PHOTOGRAPHS, local_file

# From an image to a JSON object of the results, and to the lines that are printed.
Predict = Callable[[Input], tuple[dict[str, Any], list[str]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [FILE] IMAGE [IMAGE ...] [options]'
    add = parser.add_argument
    add('file', nargs='?', metavar='FILE', help=f'trained weights, exported file or zoo:// (default: {PHOTOGRAPHS})')
    add('images', nargs='+', metavar='IMAGE', help='image files, folders, globs, or lists of files (.txt)')
    add('--top', type=positive, default=5, metavar='N', help='classes of an image (default: 5)')
    add('--classes', type=Path, metavar='FILE', help='names of the classes, one a line, in their order')
    add('--json', action='store_true', help='print a JSON list instead of text')
    add('--threads', type=positive, metavar='N', help='of the CPU (default: all)')
    detector = parser.add_argument_group('detector')
    detector.add_argument('--out', type=Path, metavar='DIR', help='draw the boxes into pictures there')
    score = 'least score of a box, 0 to 1 (default: 0.3)'
    detector.add_argument('--score-threshold', type=float, default=0.3, metavar='S', help=score)
    add_existing(detector)
    weights = parser.add_argument_group('trained weights')
    add_trained_options(weights, config=True)
    add_size(weights, 'of images, px (default: as trained)')


def run(arguments: argparse.Namespace) -> int:
    """Predict every image; status 1 if there were problems with some."""
    images = arguments.images
    if arguments.file is not None and names_input(arguments.file):
        images, arguments.file = [arguments.file, *images], None
    inputs, problems = find_inputs(images)
    problems += [f'{item.path} is a video; predict takes images' for item in inputs if item.is_video]
    results: list[dict[str, Any]] = []
    with redirect_stdout(sys.stderr) if arguments.json else nullcontext():  # the logs of libraries are no JSON
        predict = _predictor(arguments)
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
    """The network in the file, or that of the zoo which knows photographs, ready to predict."""
    names = _names(arguments.classes)
    default = arguments.file is None and arguments.config is None
    arguments.file = local_file(arguments.file or PHOTOGRAPHS)
    exported = any(arguments.file.suffix == engine.suffix for engine in ENGINES.values())
    if exported and arguments.config is None:
        for flag in ('size', 'stage', 'cfg_options', 'allow_other_network'):
            if getattr(arguments, flag):
                raise InputError(f'--{flag.replace("_", "-")} belongs to trained weights; {arguments.file} needs none')
        classifier = Classifier.of_file(arguments.file, threads=arguments.threads)
    else:
        choices = trained(arguments, arguments.file)
        model, config = load_trained(**choices)
        if not isinstance(model, BiRealClassifier):
            detector = Detector(model, config, dataset_meta(arguments.file))
            detector.classes = names or detector.classes
            return _of_detector(detector, arguments)
        size, _ = taken_size(arguments.size, choices['config'], config, arguments.file)
        preparation = Preparation.of_config(config, model, size, class_names(arguments.file))
        classifier = Classifier.of_model(model, preparation, str(arguments.file), arguments.threads)
    if arguments.out is not None:
        raise InputError(f'--out is for the pictures of a detector; {arguments.file} is a classifier')
    classifier.classes = names or classifier.classes
    if default and classifier.classes:
        print(f'note: {PHOTOGRAPHS} knows {", ".join(classifier.classes)}, and nothing else', file=sys.stderr)
    if classifier.classes is None:
        print('note: names of the classes are not known; --classes FILE gives them', file=sys.stderr)

    def predict(item: Input) -> tuple[dict[str, Any], list[str]]:
        guesses = classifier(item.path, top=arguments.top)
        return dict(classes=[asdict(guess) for guess in guesses]), [str(guess) for guess in guesses]

    return predict


def _of_detector(detector: Detector, arguments: argparse.Namespace) -> Predict:
    def predict(item: Input) -> tuple[dict[str, Any], list[str]]:
        drawing = None
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            suffix = item.path.suffix if item.path.suffix.lower() in WRITABLE_SUFFIXES else '.png'
            drawing = next(iter(to_write([arguments.out / f'{item.name}{suffix}'], arguments)), None)
        boxes = detector(item.path, threshold=arguments.score_threshold, drawing=drawing)
        drawn = {} if drawing is None else dict(picture=str(drawing))
        return dict(boxes=[asdict(box) for box in boxes], **drawn), [str(box) for box in boxes] or ['nothing found']

    return predict


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
