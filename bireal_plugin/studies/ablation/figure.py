"""Picture of the grid of Table 1: our accuracies above (filled markers), the paper's below (hollow ones)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bireal_plugin.studies.ablation.paper_table import PAPER_TOP1, ROWS, STRUCTURES, Cell
from bireal_plugin.studies.ablation.report import INITIALISATION_TITLES, TITLES, Row, mean_and_spread
from bireal_plugin.studies.figures.style import BLUE, GREEN, ORANGE, new_figure, save, styled

LOOK = {'bireal': (BLUE, 'o'), 'resnet': (ORANGE, 's'), 'plain': (GREEN, '^')}
SHIFT = {'bireal': -0.14, 'resnet': 0.0, 'plain': 0.14}  # error bars side by side


def draw_ablation(rows: Sequence[Row], stem: Path, *, title: str) -> list[Path]:
    """``stem.png`` and ``stem.svg``: mean top-1 of every cell with its standard deviation, by structure."""
    with styled():
        figure = new_figure(5.6)
        here, paper = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for structure in STRUCTURES:
            color, marker = LOOK[structure]
            cells = [Cell(structure, *choices) for choices in ROWS]
            values = [[row.top1 for row in rows if row.cell == cell] for cell in cells]
            places = [i for i, each in enumerate(values) if each]
            summary = [mean_and_spread(values[i]) for i in places]
            here.errorbar(
                [i + SHIFT[structure] for i in places],
                [mean for mean, _ in summary],
                yerr=[spread or 0.0 for _, spread in summary],
                color=color,
                marker=marker,
                linestyle='none',
                capsize=3,
                label=TITLES[structure],
            )
            paper.plot(
                [i + SHIFT[structure] for i in range(len(ROWS))],
                [PAPER_TOP1[cell] for cell in cells],
                color=color,
                marker=marker,
                markerfacecolor='none',
                linestyle='none',
            )
        seeds = len({row.seed for row in rows})
        spread = f'mean and standard deviation over {seeds} seeds' if seeds > 1 else 'one seed'
        here.set_title(f'{title}: {spread}', loc='left')
        paper.set_title('Bi-Real Net paper, Table 1: ImageNet, 18 layers', loc='left')
        for axes in (here, paper):
            axes.set_ylabel('top-1 accuracy (%)')
            axes.axvline(len(ROWS) / 2 - 0.5, color='#bbbbbb', linewidth=0.8)  # between the two initialisations
        paper.set_ylim(bottom=0)
        paper.set_xticks(
            range(len(ROWS)), ['\n'.join((INITIALISATION_TITLES[first], *rest)) for first, *rest in ROWS], fontsize=7.5
        )
        paper.set_xlabel('initialisation / weights / surrogate of sign')
        figure.legend(*here.get_legend_handles_labels(), loc='outside upper right', ncols=len(STRUCTURES))
        return save(figure, stem)
