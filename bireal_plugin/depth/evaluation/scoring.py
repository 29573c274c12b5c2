"""Scores of predictions against ground truth, case by case, and their report as a table and as CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.evaluation.cases import Case, CaseList, Predictions
from bireal_plugin.depth.evaluation.metrics import CAP, METRIC_NAMES, image_errors, scored_pixels
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.errors import InputError
from bireal_plugin.progress import progress
from bireal_plugin.text_table import text_table
from bireal_plugin.whole_file import whole

Score = dict[str, Any]


@dataclass(frozen=True)
class Scoring:
    """Rules of scoring."""

    caps: tuple[float, ...] = (CAP,)  # farthest depths in m; each is scored for itself
    crop: str = 'garg'  # a name of CROPS
    median_scaling: bool = False  # whether each prediction is scaled to the truth's median
    filled_only: bool = False  # whether pixels without a prediction are left out, instead of counting as infinitely far


@dataclass
class Evaluation:
    """Scores of all images, and the images that have none.

    Attributes:
        scores: one per image and cap: its name as ``image``, the ``cap`` in m, the number of scored ``pixels``, the
            ``coverage``, which is the share of the pixels with ground truth that have a prediction, the ``ratio`` of
            the median prediction to the median ground truth of these, and the errors.
        images: number of images scored under every cap.
        cameras: those that gave metres. skipped: number of images left out, by reason. failures: a sentence each.
    """

    scoring: Scoring
    scores: list[Score] = field(default_factory=list)
    images: int = 0
    cameras: set[Camera] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def mean(self, cap: float) -> dict[str, float]:
        """Mean over images of each error, and of the ``coverage``."""
        scores = [score for score in self.scores if score['cap'] == cap]
        return {name: float(np.mean([score[name] for score in scores])) for name in ('coverage', *METRIC_NAMES)}

    @property
    def ratio(self) -> float:
        """Median over images of the ``ratio``: far from 1 where a unit or a baseline is not what it was taken for."""
        return float(np.median([score['ratio'] for score in self.scores if score['cap'] == self.scoring.caps[0]]))


def evaluate(
    listed: CaseList,
    predictions: Predictions,
    scoring: Scoring,
    *,
    png: Mapping[str, Path],
    complain: Callable[[str], None],
) -> Evaluation:
    """Predict and score every case, with progress on stderr; a case that cannot be read is left out and reported.

    Args:
        listed: images with ground truth.
        png: files to write, by the case's name: predictions in the form of the KITTI depth benchmark, at the truth's
            size.
        complain: called with a sentence about each case that failed.

    Raises:
        InputError: no case could be scored.
    """
    evaluation = Evaluation(scoring, skipped=Counter(listed.skipped))
    for case in progress(listed.cases, unit='image'):
        try:
            scores = list(_scores(case, predictions, scoring, png))
            if scores and predictions.camera is not None:
                evaluation.cameras.add(predictions.camera(case))
        except (InputError, OSError) as error:
            sentence = str(error) if case.name in str(error) else f'{case.name}: {error}'
            evaluation.failures.append(sentence)
            complain(sentence)
        else:
            if len(scores) < len(scoring.caps):
                evaluation.skipped['without a pixel to score'] += 1
            else:
                evaluation.images += 1
                evaluation.scores += scores
    if not evaluation.images:
        pixel = 'pixel with a prediction and ground truth' if scoring.filled_only else 'pixel with ground truth'
        raise InputError(
            f'none of the {len(listed.cases)} images could be scored; {len(evaluation.failures)} failed, the others '
            f'have no {pixel} in the crop {scoring.crop!r}'
        )
    return evaluation


def _scores(case: Case, predictions: Predictions, scoring: Scoring, png: Mapping[str, Path]) -> Iterator[Score]:
    """A score for each cap that leaves a pixel to score."""
    truth = case.truth()
    prediction = predictions.depth(case, truth.shape)
    filled = np.isfinite(prediction)
    if case.name in png:
        write_depth_png(png[case.name], prediction)
    for cap in scoring.caps:
        known = scored_pixels(truth, cap=cap, crop=scoring.crop)
        pixels = known & filled if scoring.filled_only else known
        if pixels.any():
            errors = image_errors(truth, prediction, pixels, cap=cap, median_scaling=scoring.median_scaling)
            both = known & filled
            ratio = float(np.median(prediction[both]) / np.median(truth[both])) if both.any() else np.inf
            facts = dict(image=case.name, cap=cap, pixels=int(pixels.sum()), coverage=float(filled[known].mean()))
            yield {**facts, 'ratio': ratio, **errors}


DIGITS = {'silog': 2, **dict.fromkeys(('sq_rel', 'rmse'), 3)}  # others have 4


def evaluation_table(evaluation: Evaluation, *, predictions: str, ground_truth: str) -> str:
    """Facts on predictions, images and scoring, then a row of means over images for each cap; m, silog times 100."""
    scoring = evaluation.scoring
    coverage = evaluation.mean(scoring.caps[0])['coverage']
    every = 'all with ground truth; one without prediction counts as infinitely far'
    counts = [f'{count} {why}' for why, count in evaluation.skipped.items() if count]
    sources: dict[str, set[str]] = {}
    for camera in evaluation.cameras:
        sources.setdefault(f'{camera.baseline:.4f} m', set()).add(camera.source)
    baselines = [f'{metres} ({", ".join(sorted(names))})' for metres, names in sorted(sources.items())]
    scaled = "each image scaled to the ground truth's median" if scoring.median_scaling else 'as predicted'
    failed = f'; failed: {len(evaluation.failures)}' if evaluation.failures else ''
    facts = {
        'predictions': predictions,
        'ground truth': f'{ground_truth}, nearer than the cap',
        'crop': scoring.crop,
        'pixels': f'{"the predicted ones alone" if scoring.filled_only else every}; predicted are {coverage:.1%}',
        'baseline': '; '.join(baselines) or 'not used, since the predictions are depths',
        'scale': f'{scaled}; predictions are {evaluation.ratio:.3g} times the ground truth in the median',
        'images': f'{evaluation.images}, the mean over images; skipped: {", ".join(counts) or 0}{failed}',
    }
    widest = max(map(len, facts))
    lines = [f'{name.ljust(widest)}  {text}' for name, text in facts.items()]
    means = {cap: evaluation.mean(cap) for cap in scoring.caps}
    digits = {name: DIGITS.get(name, 4) for name in METRIC_NAMES}
    rows = [
        {'cap': f'{cap:g} m', **{name: f'{mean[name]:.{count}f}' for name, count in digits.items()}}
        for cap, mean in means.items()
    ]
    return '\n'.join([*lines, '', text_table(rows, left=())])


def write_scores(path: Path, evaluation: Evaluation) -> None:
    """A line per image and cap: name, cap in m, scored pixels, coverage, and the errors at full precision."""
    with whole(path) as partial, partial.open('w', newline='') as file:
        writer = csv.DictWriter(file, [*evaluation.scores[0]], lineterminator='\n')
        writer.writeheader()
        writer.writerows({**score, 'cap': f'{score["cap"]:g}'} for score in evaluation.scores)
