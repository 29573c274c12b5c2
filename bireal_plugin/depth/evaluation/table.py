"""How an evaluation is told: one table that names everything the figures depend on, and a line per image as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from bireal_plugin.depth.evaluation.metrics import METRIC_NAMES
from bireal_plugin.depth.evaluation.scoring import Outcome

DIGITS = {'coverage': 3, 'silog': 2, **dict.fromkeys(('sq_rel', 'rmse'), 3)}  # others have 4
COLUMNS = ('cap', *METRIC_NAMES)


def evaluation_table(outcome: Outcome, *, predictions: str, ground_truth: str) -> str:
    """What was evaluated and how, then a row of means over images per cap; depths in m, silog x 100."""
    scoring = outcome.scoring
    coverage = outcome.mean(scoring.caps[0])['coverage']
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
        'baseline': _baselines(outcome),
        'scale': "each image scaled to the ground truth's median" if scoring.median_scaling else 'as predicted',
        'images': f'{outcome.images}, the mean over images{_left_out(outcome)}',
    }
    rows = [COLUMNS, *[_row(cap, outcome) for cap in scoring.caps]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ['  '.join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, '  '.join('-' * width for width in widths))
    longest = max(map(len, facts))
    return '\n'.join([*[f'{name.ljust(longest)}  {text}' for name, text in facts.items()], '', *lines])


def write_scores(path: Path, outcome: Outcome) -> None:
    """A line per image and cap: name, cap in m, scored pixels, coverage, and the errors at full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['image', 'cap', 'pixels', 'coverage', *METRIC_NAMES])
    for score in outcome.scores:
        errors = [repr(score.errors[name]) for name in METRIC_NAMES]
        writer.writerow([score.name, f'{score.cap:g}', score.pixels, repr(score.coverage), *errors])
    partial = path.with_name(f'{path.name}.partial')
    try:
        partial.write_text(text.getvalue())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _row(cap: float, outcome: Outcome) -> Sequence[str]:
    means = outcome.mean(cap)
    return [f'{cap:g} m', *[f'{means[name]:.{DIGITS.get(name, 4)}f}' for name in METRIC_NAMES]]


def _baselines(outcome: Outcome) -> str:
    """Each baseline with its sources; a renderer or calibration is named once."""
    if not outcome.cameras:
        return 'not used, since the predictions are depths'
    sources: dict[str, set[str]] = {}
    for camera in outcome.cameras:
        sources.setdefault(f'{camera.baseline:.4f} m', set()).add(camera.source)
    return '; '.join(f'{metres} ({", ".join(sorted(names))})' for metres, names in sorted(sources.items()))


def _left_out(outcome: Outcome) -> str:
    counts = [f'{count} {why}' for why, count in outcome.skipped.items() if count]
    skipped = f'; skipped: {", ".join(counts)}' if counts else '; skipped: 0'
    return f'{skipped}; failed: {len(outcome.failures)}' if outcome.failures else skipped
