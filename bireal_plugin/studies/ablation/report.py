"""Report of the grid: its rows, and their texts: a CSV, a Markdown table beside the paper's, verdicts on its order.

A row is the accuracy of a cell, or of the real network that cells start from.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.grid import Unit
from bireal_plugin.studies.ablation.paper_table import (
    CLAIMS,
    INITIALISATIONS,
    MARGIN,
    PAPER_TOP1,
    PAPER_TOP1_34,
    ROWS,
    STRUCTURES,
    Accuracies,
    Cell,
    Claim,
    Finding,
    judge,
    paired_differences,
)
from bireal_plugin.studies.ablation.schedule import unit_result
from bireal_plugin.text_table import markdown_table

TITLES = {'bireal': 'Bi-Real', 'resnet': 'Res', 'plain': 'Plain'}
CHOICES = ('initialisation', 'weight', 'surrogate')
WORDS = ('structure', 'claim', 'verdict')
INITIALISATION_TITLES = {'relu': 'ReLU', 'clip': 'Clip'}


@dataclass(frozen=True)
class Row:
    """A cell trained with one seed: top-1 in %, seconds of its binary stages, checkpoint below the work directory."""

    cell: Cell
    seed: int
    top1: float
    seconds: float
    checkpoint: str


@dataclass(frozen=True)
class RealRow:
    """The real network that cells of one structure, initialisation and seed start from: top-1 accuracy in %."""

    structure: str
    initialisation: str
    seed: int
    top1: float


def collect_rows(work_dir: Path, units: Sequence[Unit]) -> list[Row]:
    """The cells whose last stage has ended.

    Raises:
        InputError: a stage was not validated by top-1 accuracy.
    """
    rows = []
    for unit in units:
        if unit.cell is not None and unit.last and (result := unit_result(work_dir, unit)) is not None:
            parts = [unit_result(work_dir, other) for other in units if other.folder == unit.folder]
            seconds = sum(part['seconds'] for part in parts if part)
            checkpoint = f'{unit.folder}/{result["checkpoint"]}'
            rows.append(Row(unit.cell, unit.seed, _top1(result, unit), round(seconds, 1), checkpoint))
    return rows


def collect_real_rows(work_dir: Path, units: Sequence[Unit], start: Mapping[str, str]) -> list[RealRow]:
    """The real networks that have ended, of the stages ``start`` (initialisation -> stage)."""
    rows = []
    for unit in units:
        for initialisation, stage in start.items():
            if unit.cell is None and unit.stage == stage and (result := unit_result(work_dir, unit)) is not None:
                rows.append(RealRow(unit.structure, initialisation, unit.seed, _top1(result, unit)))
    return rows


def _top1(result: Mapping[str, Any], unit: Unit) -> float:
    if 'top1' not in result:
        raise InputError(
            f'{unit} has no top-1 accuracy in its result.json; the grid needs val_evaluator=dict(type="TopKAccuracy")'
        )
    return result['top1']


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None below two values."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def csv_text(rows: Sequence[Row]) -> str:
    """One line per cell and seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    choices = [field.name for field in fields(Cell)]
    writer.writerow([*choices, 'seed', 'top1', 'paper_top1', 'seconds', 'checkpoint'])
    for row in rows:
        paper = PAPER_TOP1[row.cell]
        writer.writerow([*astuple(row.cell), row.seed, f'{row.top1:.3f}', paper, row.seconds, row.checkpoint])
    return text.getvalue()


def table_text(rows: Sequence[Row], real_rows: Sequence[RealRow], *, title: str) -> str:
    """The Markdown page ``ablation.md``; ``title`` names the config."""
    seeds = sorted({row.seed for row in rows})
    lines = []
    for initialisation, weight, sign in ROWS:
        line = _choices(initialisation, weight, sign)
        for structure in STRUCTURES:
            cell = Cell(structure, initialisation, weight, sign)
            line[f'{TITLES[structure]}, here'] = entry([row.top1 for row in rows if row.cell == cell])
            line[f'{TITLES[structure]}-18, paper'] = f'{PAPER_TOP1[cell]:.1f}'
            if structure == 'bireal':
                line[f'{TITLES[structure]}-34, paper'] = f'{PAPER_TOP1_34[initialisation, weight, sign]:.1f}'
        lines.append(line)
    for initialisation in INITIALISATIONS:
        line = _choices(initialisation, 'real', 'real activation')
        for structure in STRUCTURES:
            mine = [row for row in real_rows if (row.structure, row.initialisation) == (structure, initialisation)]
            line[f'{TITLES[structure]}, here'] = entry([row.top1 for row in mine])
        lines.append(line)
    return (
        f'# The grid of Table 1: {title}\n\n'
        f'Top-1 accuracy in %, mean ± standard deviation over {len(seeds)} seed{"" if len(seeds) == 1 else "s"}'
        f' ({", ".join(map(str, seeds))}), beside the paper (ImageNet). The last two rows are the real '
        'networks that the cells start from.\n\n'
        f'{markdown_table(lines, left=CHOICES)}\n'
    )


def order_text(rows: Sequence[Row], *, title: str) -> str:
    """The Markdown page ``order.md``: each claim over all matching pairs, then within each structure."""
    measured = {(row.cell, row.seed): row.top1 for row in rows}
    paper = {(cell, 0): value for cell, value in PAPER_TOP1.items()}
    lines = [_row(claim.text, *_both(measured, paper, claim)) for claim in CLAIMS]
    detail = []
    for structure in STRUCTURES:
        ours, theirs = (
            {key: value for key, value in each.items() if key[0].structure == structure} for each in (measured, paper)
        )
        for claim in CLAIMS:
            here, there = _both(ours, theirs, claim)
            if here.pairs:
                detail.append({'structure': TITLES[structure], **_row(claim.text, here, there)})
    return (
        f"# Does the paper's order come out? {title}\n\n"
        'A pair is two cells of one seed that differ in the claimed choice alone; a difference is the top-1 accuracy '
        'of the first minus that of the second, in percentage points. A claim *holds* (*does not hold*) where the mean '
        f'difference is positive (negative) and more than {MARGIN:g} standard errors from 0; otherwise the difference '
        'is *within noise*, which does not contradict a ≥. Pairs of one structure and seed start from the same real '
        'networks, so the standard error is a little too small. "paper" is the mean difference in its Table 1.\n\n'
        f'{markdown_table(lines, left=WORDS)}\n\n'
        f'## Within each structure\n\n{markdown_table(detail, left=WORDS)}\n'
    )


def _both(measured: Accuracies, paper: Accuracies, claim: Claim) -> tuple[Finding, Finding]:
    return judge(paired_differences(measured, claim)), judge(paired_differences(paper, claim))


def _row(text: str, here: Finding, paper: Finding) -> dict[str, str]:
    return finding_row(text, here, f'{paper.mean or 0.0:+.1f}')


def finding_row(text: str, here: Finding, paper: str) -> dict[str, str]:
    """A line of a table of verdicts; ``paper`` is its difference in words."""
    return {
        'claim': text,
        'mean difference': '' if here.mean is None else f'{here.mean:+.2f}',
        'standard error': '' if here.error is None else f'{here.error:.2f}',
        'in favour': f'{here.favourable} of {here.pairs}',
        'verdict': here.verdict or 'no pairs',
        'paper': paper,
    }


def _choices(initialisation: str, weight: str, sign: str) -> dict[str, str]:
    return dict(zip(CHOICES, (INITIALISATION_TITLES[initialisation], weight, sign), strict=True))


def entry(values: Sequence[float]) -> str:
    """Mean and spread in words; nothing of no values."""
    if not values:
        return ''
    mean, spread = mean_and_spread(values)
    return f'{mean:.2f}' if spread is None else f'{mean:.2f} ± {spread:.2f}'
