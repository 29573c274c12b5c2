"""Look and writing of all pictures; imported first, so that a missing matplotlib is one sentence."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole

try:
    import matplotlib
except ModuleNotFoundError as missing:
    raise InputError("drawing needs matplotlib: pip install 'bireal-plugin[plot]'") from missing

from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#666666'
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY)

WIDTH = 8.0  # inches; text stays readable when a README shows the picture about 830 px wide

RC: Any = {
    'font.size': 9.0,
    'axes.titlesize': 10.0,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#dddddd',
    'grid.linewidth': 0.6,
    'legend.frameon': False,
    'lines.linewidth': 1.6,
    'savefig.dpi': 150,
    'svg.hashsalt': 'bireal',  # the same picture is the same file
}


def new_figure(height: float) -> Figure:
    """Empty figure, ``WIDTH`` x ``height`` inches; make it and draw in it within ``styled``."""
    return Figure(figsize=(WIDTH, height), layout='constrained')


def styled() -> AbstractContextManager[None]:
    """Context in which figures are made and saved."""
    return matplotlib.rc_context(RC)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``, arranged once for both; their paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f'{stem.name}{suffix}') for suffix in ('.png', '.svg')]
    for path in paths:
        with whole(path) as partial:
            figure.savefig(partial, metadata={'Date': None} if path.suffix == '.svg' else None)
        figure.set_layout_engine('none')
    return paths
