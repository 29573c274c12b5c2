"""The bar chart of an inference benchmark: one picture per model and shape."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bireal_plugin.studies.figures.style import BLUE, GREY, ORANGE, new_figure, save, styled
from bireal_plugin.studies.speed.inference import Comparison, speed_up
from bireal_plugin.studies.speed.networks import Contender
from bireal_plugin.studies.speed.report import threads, title

if TYPE_CHECKING:
    from matplotlib.artist import Artist

COLOURS: dict[Contender, str] = {'ours': BLUE, 'twin': ORANGE, 'torchvision': GREY}
NAMES: dict[Contender, str] = {'ours': 'Bi-Real', 'twin': 'its float twin', 'torchvision': 'ResNet of torchvision'}
BAR, MARGIN = 0.24, 1.1  # inches


def draw_result(folder: Path, result: Comparison) -> list[Path]:
    """A bar per side and engine, fastest on top: median, middle half of the times, and the speed-up.

    The files are called by model and shape, such as ``bi-real-18_1x3x224x224.png``.
    """
    timings = sorted(result.timings, key=lambda timing: timing.median_ms)
    reference = result.references[0] if result.references else timings[-1]
    with styled():
        figure = new_figure(MARGIN + BAR * len(timings))
        axes = figure.subplots()
        bars = {}
        for i, timing in enumerate(timings):
            first, third = timing.quartiles_ms
            spread = [[timing.median_ms - first], [third - timing.median_ms]]
            bars[timing.side] = axes.barh(i, timing.median_ms, color=COLOURS[timing.side], height=0.75)
            axes.errorbar(timing.median_ms, i, xerr=spread, color='black', linewidth=0.8, capsize=2)
            axes.annotate(
                f'{timing.median_ms:.3g} ms  {speed_up(timing, reference):.1f}x',
                (third, i),
                (6, 0),
                textcoords='offset points',
                va='center',
                fontsize=8,
            )
        axes.set_yticks(range(len(timings)), [timing.engine for timing in timings])
        axes.set_ylim(len(timings) - 0.5, -0.5)
        axes.grid(visible=False, axis='y')
        # Room for the label of the longest bar.
        axes.set_xlim(0, 1.18 * max(timing.quartiles_ms[1] for timing in timings))
        over = f'speed-up over {reference.side} on {reference.engine}'
        axes.set_xlabel(f'ms per inference, {threads(timings[0].threads)}; {over}')
        axes.set_title(title(result), loc='left')
        sides = [side for side in COLOURS if side in bars]
        handles: list[Artist] = [bars[side].patches[0] for side in sides]
        figure.legend(handles, [NAMES[side] for side in sides], loc='outside lower center', ncols=len(sides))
        model = re.sub(r'[^a-z0-9]+', '-', result.model.lower()).strip('-')
        return save(figure, folder / f'{model}_{"x".join(map(str, result.shape))}')
