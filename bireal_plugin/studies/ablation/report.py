"""Texts of the grid: a CSV, the Markdown table beside the paper's, and the verdicts on its order."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from statistics import fmean, stdev

from bireal_plugin.studies.ablation.order import CLAIMS, MARGIN, Accuracies, Claim, Finding, judge, paired_differences
from bireal_plugin.studies.ablation.paper_table import INITIALISATIONS, PAPER_TOP1, ROWS, STRUCTURES, Cell
from bireal_plugin.studies.ablation.rows import RealRow, Row, accuracies
from bireal_plugin.text_table import markdown_table

TITLES = {'bireal': 'Bi-Real', 'resnet': 'Res', 'plain': 'Plain'}
CHOICES = ('initialisation', 'weight', 'surrogate')
WORDS = ('structure', 'claim', 'verdict')
INITIALISATION_TITLES = {'relu': 'ReLU', 'clip': 'Clip'}


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None below two values."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def csv_text(rows: Sequence[Row]) -> str:
    """One line per cell and seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    cell_columns = ('structure', 'initialisation', 'weight', 'sign')
    writer.writerow([*cell_columns, 'seed', 'top1', 'paper_top1', 'seconds', 'checkpoint'])
    for row in rows:
        choices = [getattr(row.cell, column) for column in cell_columns]
        paper = PAPER_TOP1[row.cell]
        writer.writerow([*choices, row.seed, f'{row.top1:.3f}', paper, row.seconds, row.checkpoint])
    return text.getvalue()


def table_text(rows: Sequence[Row], real_rows: Sequence[RealRow], *, title: str) -> str:
    """The Markdown page ``ablation.md``; ``title`` names the config."""
    seeds = sorted({row.seed for row in rows})
    lines = []
    for initialisation, weight, sign in ROWS:
        line = _choices(initialisation, weight, sign)
        for structure in STRUCTURES:
            cell = Cell(structure, initialisation, weight, sign)
            line[f'{TITLES[structure]}, here'] = _entry([row.top1 for row in rows if row.cell == cell])
            line[f'{TITLES[structure]}-18, paper'] = f'{PAPER_TOP1[cell]:.1f}'
        lines.append(line)
    for initialisation in INITIALISATIONS:
        line = _choices(initialisation, 'real', 'real activation')
        for structure in STRUCTURES:
            mine = [row for row in real_rows if (row.structure, row.initialisation) == (structure, initialisation)]
            line[f'{TITLES[structure]}, here'] = _entry([row.top1 for row in mine])
        lines.append(line)
    return (
        f'# The grid of Table 1: {title}\n\n'
        f'Top-1 accuracy in %, mean ± standard deviation over {_count(len(seeds), "seed")}'
        f' ({", ".join(map(str, seeds))}), beside the paper (18 layers, ImageNet). The last two rows are the real '
        'networks that the cells start from.\n\n'
        f'{markdown_table(lines, left=CHOICES)}\n'
    )


def order_text(rows: Sequence[Row], *, title: str) -> str:
    """The Markdown page ``order.md``: each claim over all matching pairs, then within each structure."""
    measured = accuracies(rows)
    paper = {(cell, 0): value for cell, value in PAPER_TOP1.items()}
    lines = [_finding_row(claim.text, *_both(measured, paper, claim)) for claim in CLAIMS]
    detail = []
    for structure in STRUCTURES:
        ours, theirs = (
            {key: value for key, value in each.items() if key[0].structure == structure} for each in (measured, paper)
        )
        for claim in CLAIMS:
            here, there = _both(ours, theirs, claim)
            if here.pairs:
                detail.append({'structure': TITLES[structure], **_finding_row(claim.text, here, there)})
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


def _finding_row(text: str, here: Finding, paper: Finding) -> dict[str, str]:
    return {
        'claim': text,
        'mean difference': '' if here.mean is None else f'{here.mean:+.2f}',
        'standard error': '' if here.error is None else f'{here.error:.2f}',
        'in favour': f'{here.favourable} of {here.pairs}',
        'verdict': here.verdict or 'no pairs',
        'paper': f'{paper.mean or 0.0:+.1f}',
    }


def _choices(initialisation: str, weight: str, sign: str) -> dict[str, str]:
    return dict(zip(CHOICES, (INITIALISATION_TITLES[initialisation], weight, sign), strict=True))


def _entry(values: Sequence[float]) -> str:
    if not values:
        return ''
    mean, spread = mean_and_spread(values)
    return f'{mean:.2f}' if spread is None else f'{mean:.2f} ± {spread:.2f}'


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'
