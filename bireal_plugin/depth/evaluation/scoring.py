"""The loop of an evaluation: every case predicted and scored, in the order of the literature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.evaluation.cases import Case
from bireal_plugin.depth.evaluation.metrics import CAP, METRIC_NAMES, image_errors, scored_pixels
from bireal_plugin.depth.evaluation.predictions import Predictions
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.errors import InputError


@dataclass(frozen=True)
class Scoring:
    """How predictions are scored.

    Attributes:
        caps: in m; each is scored for itself.
        crop: a name of ``crops``.
        median_scaling: whether each prediction gets the truth's median.
        filled_only: whether pixels without a prediction are left out; they count as infinitely far otherwise.
    """

    caps: tuple[float, ...] = (CAP,)
    crop: str = 'garg'
    median_scaling: bool = False
    filled_only: bool = False


@dataclass(frozen=True)
class Score:
    """One image under one cap.

    Attributes:
        pixels: how many were scored. coverage: the share of pixels with ground truth that have a prediction.
        errors: by the names of ``METRIC_NAMES``.
    """

    name: str
    cap: float
    pixels: int
    coverage: float
    errors: dict[str, float]


@dataclass
class Outcome:
    """What an evaluation found.

    Attributes:
        scores: per cap, per image. images: how many were scored under every cap.
        cameras: those that were used. skipped: why, and how many. failures: a sentence each.
    """

    scoring: Scoring
    scores: list[Score] = field(default_factory=list)
    images: int = 0
    cameras: set[Camera] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def mean(self, cap: float) -> dict[str, float]:
        """The mean over images of each error, and of the ``coverage``."""
        scores = [score for score in self.scores if score.cap == cap]
        means = {name: float(np.mean([score.errors[name] for score in scores])) for name in METRIC_NAMES}
        return {**means, 'coverage': float(np.mean([score.coverage for score in scores]))}


def evaluate(
    cases: Sequence[Case],
    predictions: Predictions,
    scoring: Scoring,
    *,
    png: Path | None = None,
    complain: Callable[[str], None],
    advance: Callable[[int], None],
) -> Outcome:
    """Predict and score every case; one that cannot be read is left out and told.

    Args:
        cases: images with ground truth.
        predictions: what is scored.
        scoring: how.
        png: a folder for predictions in the form of the KITTI depth benchmark, at the truth's size.
        complain: called with a sentence about each case that failed.
        advance: called with the number of cases done.

    Raises:
        InputError: no case could be scored.
    """
    outcome = Outcome(scoring)
    for done, case in enumerate(cases, start=1):
        try:
            scores = list(_scores(case, predictions, scoring, png))
            if scores and predictions.needs_camera:
                outcome.cameras.add(case.camera())
        except (InputError, OSError) as error:
            sentence = str(error) if case.name in str(error) else f'{case.name}: {error}'
            outcome.failures.append(sentence)
            complain(sentence)
        else:
            if len(scores) < len(scoring.caps):
                outcome.skipped['without a pixel to score'] += 1
            else:
                outcome.images += 1
                outcome.scores += scores
        advance(done)
    if not outcome.images:
        raise InputError(
            f'none of the {len(cases)} images could be scored; {len(outcome.failures)} failed, the others have no '
            f'pixel with ground truth in the crop {scoring.crop!r}'
        )
    return outcome


def _scores(case: Case, predictions: Predictions, scoring: Scoring, png: Path | None) -> Iterator[Score]:
    """The scores under each cap; none under a cap that leaves no pixel."""
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
