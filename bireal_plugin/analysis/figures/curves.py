"""Training curves of all stages, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from matplotlib.ticker import LogLocator, NullLocator

from bireal_plugin.analysis.curves import Curves
from bireal_plugin.analysis.figures.style import BLUE, GREEN, ORANGE, new_figure, save, styled


def draw_curves(stages: Sequence[Curves], stem: Path, *, title: str) -> list[Path]:
    """``stem.png`` and ``stem.svg``: loss, learning rate and top-1 accuracy over the epochs of all stages."""
    with_top1 = any(stage.top1 for stage in stages)
    starts = [0.0, *accumulate(stage.length for stage in stages)]
    with styled():
        figure = new_figure(6.4 if with_top1 else 4.4)
        panels = figure.subplots(3 if with_top1 else 2, 1, sharex=True)
        for start, stage in zip(starts, stages, strict=False):
            # A learning rate is that of the iterations before its point.
            lr = [(0.0, stage.lr[0][1]), *stage.lr] if stage.lr else []
            curves = [(stage.loss, BLUE, 'default'), (lr, ORANGE, 'steps-pre'), (stage.top1, GREEN, 'default')]
            for axes, (points, color, drawstyle) in zip(panels, curves, strict=False):
                x = [start + epoch for epoch, _ in points]
                y = [value for _, value in points]
                marker = '.' if points is stage.top1 or len(points) == 1 else ''
                axes.plot(x, y, color=color, marker=marker, drawstyle=drawstyle)
        for axes in panels:
            for i, (start, end) in enumerate(pairwise(starts)):
                if i % 2:
                    axes.axvspan(start, end, color='#f2f2f2', zorder=0, linewidth=0)
            axes.set_xlim(0, 1.01 * starts[-1] or 1)
        for start, end, stage in zip(starts, starts[1:], stages, strict=False):
            panels[0].annotate(
                stage.stage, ((start + end) / 2, 1.02), xycoords=('data', 'axes fraction'), ha='center', fontsize=8
            )
        panels[0].set_ylabel('training loss')
        panels[1].set_ylabel('learning rate')
        for axes in panels[:2]:
            axes.set_yscale('log')
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter('{x:g}')
            axes.yaxis.set_minor_locator(NullLocator())
        figure.align_ylabels(panels)
        if with_top1:
            panels[2].set_ylabel('test top-1 (%)')
        panels[-1].set_xlabel('epoch' if len(stages) == 1 else 'epoch, over all stages')
        figure.suptitle(f'{title}: training', x=0.01, ha='left', fontsize=10)
        return save(figure, stem)
