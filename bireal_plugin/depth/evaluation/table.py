"""Report of an evaluation: a table that names everything its figures depend on, and a line per image as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from bireal_plugin.depth.evaluation.metrics import METRIC_NAMES
from bireal_plugin.depth.evaluation.scoring import Evaluation
from bireal_plugin.text_table import text_table
from bireal_plugin.whole_file import whole

DIGITS = {'silog': 2, **dict.fromkeys(('sq_rel', 'rmse'), 3)}  # others have 4


def evaluation_table(evaluation: Evaluation, *, predictions: str, ground_truth: str) -> str:
    """Facts on predictions, images and scoring, then a row of means over images for each cap; m, silog times 100."""
    scoring = evaluation.scoring
    coverage = evaluation.mean(scoring.caps[0])['coverage']
    pixels = (
        'the predicted ones alone'
        if scoring.filled_only
        else 'all with ground truth; one without prediction counts as infinitely far'
    )
    facts = {
        'predictions': predictions,
        'ground truth': f'{ground_truth}, nearer than the cap',
        'crop': scoring.crop,
        'pixels': f'{pixels}; predicted are {coverage:.1%}',
        'baseline': _baselines(evaluation),
        'scale': "each image scaled to the ground truth's median" if scoring.median_scaling else 'as predicted',
        'images': f'{evaluation.images}, the mean over images{_left_out(evaluation)}',
    }
    widest = max(map(len, facts))
    lines = [f'{name.ljust(widest)}  {text}' for name, text in facts.items()]
    rows = [{'cap': f'{cap:g} m', **_cells(evaluation.mean(cap))} for cap in scoring.caps]
    return '\n'.join([*lines, '', text_table(rows, left=())])


def write_scores(path: Path, evaluation: Evaluation) -> None:
    """A line per image and cap: name, cap in m, scored pixels, coverage, and the errors at full precision."""
    with whole(path) as partial, partial.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['image', 'cap', 'pixels', 'coverage', *METRIC_NAMES])
        for score in evaluation.scores:
            errors = [repr(score.errors[name]) for name in METRIC_NAMES]
            writer.writerow([score.name, f'{score.cap:g}', score.pixels, repr(score.coverage), *errors])


def _cells(means: Mapping[str, float]) -> dict[str, str]:
    return {name: f'{means[name]:.{DIGITS.get(name, 4)}f}' for name in METRIC_NAMES}


def _baselines(evaluation: Evaluation) -> str:
    """Each baseline in m with the calibrations it comes from."""
    if not evaluation.cameras:
        return 'not used, since the predictions are depths'
    sources: dict[str, set[str]] = {}
    for camera in evaluation.cameras:
        sources.setdefault(f'{camera.baseline:.4f} m', set()).add(camera.source)
    return '; '.join(f'{metres} ({", ".join(sorted(names))})' for metres, names in sorted(sources.items()))


def _left_out(evaluation: Evaluation) -> str:
    counts = [f'{count} {why}' for why, count in evaluation.skipped.items() if count]
    skipped = f'; skipped: {", ".join(counts)}' if counts else '; skipped: 0'
    return f'{skipped}; failed: {len(evaluation.failures)}' if evaluation.failures else skipped
