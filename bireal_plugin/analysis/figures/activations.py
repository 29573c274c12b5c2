"""Fig. 9: what stands in front of every sign, by the nonlinearity that the network was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bireal_plugin.analysis.figures.style import BLUE, new_figure, save, styled

TITLES = {'relu': 'ReLU', 'leaky_clip': 'leaky clip', 'clip': 'clip', 'sign': 'sign'}
BINS_PER_UNIT = 10  # so that bins end at 0 and 1, where gates do
OVERLAP = 1.5  # height of a curve in rows


@dataclass(frozen=True)
class Panel:
    """One network: its nonlinearity, its stage's name, and the values in front of each nonlinearity by layer."""

    nonlinearity: str
    stage: str
    inputs: Mapping[str, np.ndarray]


def passes_gradient(nonlinearity: str, x: np.ndarray) -> np.ndarray:
    """Where the (surrogate's) derivative is that of an open gate: x > 0 for ReLU, |x| < 1 for all others."""
    return x > 0 if nonlinearity == 'relu' else np.abs(x) < 1


def draw_activations(panels: Sequence[Panel], stem: Path, *, images: int) -> list[Path]:
    """``stem.png`` and ``stem.svg``: one column per network, one curve per layer, each scaled to its own peak."""
    layers = list(panels[0].inputs)
    widest = max(np.quantile(np.abs(values), 0.99) for panel in panels for values in panel.inputs.values())
    limit = int(np.clip(np.ceil(widest), 2, 4))
    edges = np.linspace(-limit, limit, 2 * limit * BINS_PER_UNIT + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    with styled():
        figure = new_figure(1.0 + 0.33 * len(layers))
        columns = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
        for axes, panel in zip(columns, panels, strict=True):
            opened = passes_gradient(panel.nonlinearity, centres)
            for row, values in enumerate(panel.inputs.values()):
                base = len(layers) - 1 - row
                counts, _ = np.histogram(values, bins=edges)
                top = base + OVERLAP * counts / max(counts.max(), 1)
                # Upper layers first, so that the lower ones, whose curves reach up, stand in front.
                axes.stairs(top, edges, baseline=base, fill=True, color='#e2e2e2', zorder=row + 2)
                inside = np.where(opened, top, base)
                axes.stairs(inside, edges, baseline=base, fill=True, color='#8cbede', zorder=row + 2)
                axes.stairs(top, edges, baseline=None, color=BLUE, linewidth=0.8, zorder=row + 2)
            axes.set_title(_title(panel), loc='left')
            axes.set_yticks(range(len(layers)), list(reversed(layers)), fontsize=7)
            axes.tick_params(axis='y', length=0)
            axes.set_xlim(-limit, limit)
            axes.set_xticks(range(-limit, limit + 1, 1 if limit < 3 else 2))
            axes.set_ylim(-0.2, len(layers) - 1 + OVERLAP + 0.1)
            axes.grid(axis='y', visible=False)
        leak = ' (a tenth of it passes a leaky clip)' if any(p.nonlinearity == 'leaky_clip' for p in panels) else ''
        figure.supxlabel(
            f'value in front of the nonlinearity, {images} test images\n'
            f'blue: the gradient passes; grey: it is stopped{leak}',
            fontsize=9,
        )
        return save(figure, stem)


def _title(panel: Panel) -> str:
    title = TITLES[panel.nonlinearity]
    return title if panel.stage.replace('_', ' ') == title else f'{title} (stage {panel.stage})'
