"""Scores of predictions against ground truth, case by case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.evaluation.cases import Case, CaseList
from bireal_plugin.depth.evaluation.metrics import CAP, METRIC_NAMES, image_errors, scored_pixels
from bireal_plugin.depth.evaluation.predictions import Predictions
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.errors import InputError
from bireal_plugin.progress import progress


@dataclass(frozen=True)
class Scoring:
    """Rules of scoring.

    Attributes:
        caps: farthest depths in m; each is scored for itself.
        crop: a name of ``CROPS``.
        median_scaling: whether each prediction is scaled to the truth's median.
        filled_only: whether pixels without a prediction are left out; they count as infinitely far otherwise.
    """

    caps: tuple[float, ...] = (CAP,)
    crop: str = 'garg'
    median_scaling: bool = False
    filled_only: bool = False


@dataclass(frozen=True)
class Score:
    """Errors of one image under one cap.

    Attributes:
        pixels: number of scored pixels. coverage: share of the pixels with ground truth that have a prediction.
        errors: by the names of ``METRIC_NAMES``.
    """

    name: str
    cap: float
    pixels: int
    coverage: float
    errors: dict[str, float]


@dataclass
class Evaluation:
    """Scores of all images, and the images that have none.

    Attributes:
        scores: one per image and cap. images: number of images scored under every cap.
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
        scores = [score for score in self.scores if score.cap == cap]
        means = {name: float(np.mean([score.errors[name] for score in scores])) for name in METRIC_NAMES}
        return {**means, 'coverage': float(np.mean([score.coverage for score in scores]))}


def evaluate(
    listed: CaseList,
    predictions: Predictions,
    scoring: Scoring,
    *,
    png: Path | None = None,
    complain: Callable[[str], None],
) -> Evaluation:
    """Predict and score every case, with progress on stderr; a case that cannot be read is left out and reported.

    Args:
        listed: images with ground truth.
        png: folder for the predictions in the form of the KITTI depth benchmark, at the truth's size; made if there
            is none.
        complain: called with a sentence about each case that failed.

    Raises:
        InputError: no case could be scored.
    """
    if png is not None:
        png.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(scoring, skipped=Counter(listed.skipped))
    for case in progress(listed.cases, unit='image'):
        try:
            scores = list(_scores(case, predictions, scoring, png))
            if scores and predictions.needs_camera:
                evaluation.cameras.add(case.camera())
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
        raise InputError(
            f'none of the {len(listed.cases)} images could be scored; {len(evaluation.failures)} failed, the others '
            f'have no pixel with ground truth in the crop {scoring.crop!r}'
        )
    return evaluation


def _scores(case: Case, predictions: Predictions, scoring: Scoring, png: Path | None) -> Iterator[Score]:
    """A score for each cap that leaves a pixel to score."""
    truth = case.truth()
    prediction = predictions.depth(case, truth.shape)
    filled = np.isfinite(prediction)
    if png is not None:
        write_depth_png(png / f'{case.name}.png', prediction)
    for cap in scoring.caps:
        known = scored_pixels(truth, cap=cap, crop=scoring.crop)
        pixels = known & filled if scoring.filled_only else known
        if pixels.any():
            errors = image_errors(truth, prediction, pixels, cap=cap, median_scaling=scoring.median_scaling)
            yield Score(case.name, cap, int(pixels.sum()), float(filled[known].mean()), errors)
