"""The choice between exported files of some networks: accuracy against time, and size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import NullFormatter, ScalarFormatter

from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import megabytes
from bireal_plugin.shipping.limits import Verification
from bireal_plugin.studies.figures.style import BLUE, ORANGE, new_figure, save, styled

AREA = 60.0  # of a disc, square points per 10^6 bytes
ABOVE, BELOW = ((5, 5), 'bottom'), ((5, -5), 'top')  # offset of a label from its point, and its edge there


def draw_choice(verifications: Sequence[Verification], stem: Path) -> list[Path]:
    """A disc per file: top-1 accuracy over milliseconds a batch; its area is the size of what the engine loads.

    Raises:
        InputError: no file was run on images whose classes are known.
    """
    points = [
        (100 * found.top1, found.milliseconds, megabytes(found.artefact.path), found)
        for found in verifications
        if found.top1 is not None and found.milliseconds is not None
    ]
    points.sort(key=lambda point: point[1])  # so that labels of neighbours are above and below in turn
    if not points:
        raise InputError('--picture needs test images whose classes are known, and files that run on them')
    with styled():
        figure = new_figure(4.0)
        axes = figure.subplots()
        for i, (top1, ms, size, found) in enumerate(points):
            axes.scatter(ms, top1, s=AREA * size, color=ORANGE if found.other else BLUE, alpha=0.5, linewidths=0)
            axes.scatter(ms, top1, s=6, color='black', zorder=3)
            offset, edge = (BELOW, ABOVE)[i % 2]
            text = f'{found.artefact.name}\n{ms:.2f} ms, {size:.1f} MB'
            axes.annotate(text, (ms, top1), offset, textcoords='offset points', va=edge, fontsize=7.5)
        heights = sorted(top1 for top1, *_ in points)
        room = max(0.5, 0.3 * (heights[-1] - heights[0]))
        axes.set_ylim(heights[0] - room, heights[-1] + room)
        axes.set_xscale('log')
        axes.margins(x=0.2)
        axes.set_xticks([tick for tick in _ones_twos_and_fives() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]])
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        found = points[0][-1]
        axes.set_xlabel(f'milliseconds for {found.input}, one thread')
        axes.set_ylabel(f'top-1 on {found.images} images, %')
        colours = {'1-bit network': BLUE, 'other networks': ORANGE}
        handles = [axes.scatter([], [], s=40, color=colour, alpha=0.5, label=name) for name, colour in colours.items()]
        figure.legend(handles=handles, loc='outside lower center', ncols=2)
        return save(figure, stem)


def _ones_twos_and_fives() -> list[float]:
    return [digit * 10.0**power for power in range(-4, 6) for digit in (1, 2, 5)]
