"""The choice between exported files of some networks: accuracy against time, and size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import megabytes
from bireal_plugin.shipping.limits import Verification
from bireal_plugin.studies.figures.style import BLUE, ORANGE, new_figure, save, styled

AREA = 60.0  # of a disc, square points per 10^6 bytes


def draw_choice(verifications: Sequence[Verification], stem: Path) -> list[Path]:
    """A disc per file: top-1 accuracy over milliseconds a batch, its area the size of what the engine loads.

    Raises:
        InputError: no file was run on images whose classes are known.
    """
    shown = [found for found in verifications if found.top1 is not None and found.milliseconds is not None]
    if not shown:
        raise InputError('--picture needs test images whose classes are known, and files that run on them')
    with styled():
        figure = new_figure(4.0)
        axes = figure.subplots()
        for other, colour, name in ((False, BLUE, '1 bit'), (True, ORANGE, 'other networks')):
            chosen = [found for found in shown if found.other == other]
            sizes = [megabytes(found.artefact.path) for found in chosen]
            times, heights = ([*map(value, chosen)] for value in (_milliseconds, _points))
            areas = [AREA * size for size in sizes]
            axes.scatter(times, heights, s=areas, color=colour, alpha=0.6, linewidths=0, label=name)
            axes.scatter(times, heights, s=6, color='black', zorder=3)
            for found, time, height, size in zip(chosen, times, heights, sizes, strict=True):
                text = f'{found.artefact.name}, {size:.1f} MB, {time:.2f} ms'
                axes.annotate(text, (time, height), (6, 6), textcoords='offset points', fontsize=8)
        axes.set_xscale('log')
        axes.margins(x=0.25, y=0.3)
        images, batch = shown[0].images, shown[0].input
        axes.set_xlabel(f'milliseconds of an input {batch}, one thread')
        axes.set_ylabel(f'top-1 on {images} images, %')
        figure.legend(loc='outside lower center', ncols=2)
        return save(figure, stem)


def _milliseconds(found: Verification) -> float:
    assert found.milliseconds is not None
    return found.milliseconds


def _points(found: Verification) -> float:
    assert found.top1 is not None
    return 100 * found.top1
