"""Training curves of all stages, one after the other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator, NullLocator

from bireal_plugin.checkpoints.file import read_checkpoint
from bireal_plugin.errors import InputError
from bireal_plugin.studies.figures.style import BLUE, GREEN, ORANGE, new_figure, save, styled
from bireal_plugin.training.hooks.plain_checkpoint import VALIDATED

TOP1 = 'accuracy/top1'

Points = list[tuple[float, float]]  # (epoch, value); the end of the first epoch is 1


@dataclass(frozen=True)
class Curves:
    """The log of one stage over its epochs, or over iterations if its loop has no epochs.

    The learning rate is the optimizer's own, which groups may multiply (by 0 in the convolutions of the last stage).
    """

    stage: str
    loss: Points
    lr: Points
    top1: Points

    @property
    def length(self) -> float:
        """The last epoch with an entry."""
        return max((x for points in (self.loss, self.lr, self.top1) for x, _ in points), default=0.0)


def curves_of_folder(stage: str, folder: Path, checkpoint: Path) -> Curves:
    """From the ``scalars.json`` that mmengine's LocalVisBackend wrote at each start of the run.

    Args:
        checkpoint: any of the run; it tells how many iterations an epoch has.

    Raises:
        InputError: there is no ``scalars.json``.
    """
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    if not files:
        raise InputError(
            f'{folder} has no */vis_data/scalars.json; the config needs a visualizer with LocalVisBackend, or give a '
            'checkpoint, which holds its own log'
        )
    lines = [line for file in files for line in read_scalars(file)]
    return curves_of_lines(stage, lines, epoch_length=epoch_length(read_checkpoint(checkpoint)))


def read_scalars(file: Path) -> list[dict[str, Any]]:
    """The lines of one ``scalars.json``, without a last one that an interruption cut off.

    Raises:
        InputError: another line is no JSON.
    """
    texts = file.read_text().splitlines()
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            if number < len(texts):
                raise InputError(f'{file}, line {number} is no JSON: {error}; delete that line') from error
    return lines


def curves_of_lines(stage: str, lines: Sequence[Mapping[str, Any]], *, epoch_length: float) -> Curves:
    """From logged lines in time order; where a resumed run repeats a step, the later line counts.

    Training lines have ``iter`` and ``loss``; validation lines have ``accuracy/top1``, their step being the epoch.
    """
    training = {line['iter']: line for line in lines if 'loss' in line and 'iter' in line}
    validation = {line['step']: line[TOP1] for line in lines if TOP1 in line}

    def over_epochs(key: str) -> Points:
        return [(step / epoch_length, line[key]) for step, line in sorted(training.items()) if key in line]

    top1 = [(float(step), value) for step, value in sorted(validation.items())]
    return Curves(stage, over_epochs('loss'), over_epochs('base_lr') or over_epochs('lr'), top1)


def epoch_length(checkpoint: Mapping[str, Any]) -> float:
    """Iterations per epoch of the run that wrote the checkpoint; 1 where its loop counts iterations only."""
    meta = checkpoint.get('meta', {})
    return meta['iter'] / meta['epoch'] if meta.get('epoch') and meta.get('iter') else 1.0


def curves_of_checkpoint(stage: str, checkpoint: Mapping[str, Any], *, source: str) -> Curves:
    """From the message hub in a checkpoint, which has every iteration and where each validation stood.

    Accuracies of a checkpoint of an older version, which does not tell that, are left out.

    Raises:
        InputError: the checkpoint holds weights alone.
    """
    hub = checkpoint.get('message_hub', {})
    curves = hub.get('curves', {})
    if 'train/loss' not in curves:
        raise InputError(
            f'{source} holds weights but no log of its training; give an epoch_*.pth or the work directory'
        )
    length = epoch_length(checkpoint)

    values: dict[str, list[float]] = {key: curve['values'].tolist() for key, curve in curves.items()}

    def over_epochs(key: str) -> Points:
        return [((i + 1) / length, value) for i, value in enumerate(values.get(key, []))]

    accuracies, validated = values.get(f'val/{TOP1}', []), hub.get('runtime_info', {}).get(VALIDATED, [])
    # A resumed run validates its last epoch again; the later value counts.
    top1 = dict(zip(validated, accuracies, strict=True)) if len(validated) == len(accuracies) else {}
    lr = over_epochs('train/base_lr') or over_epochs('train/lr')
    accuracy = [(iteration / length, value) for iteration, value in sorted(top1.items())]
    return Curves(stage, thinned(over_epochs('train/loss')), sampled(lr), accuracy)


def thinned(points: Points, *, most: int = 100) -> Points:
    """Means of consecutive points, so many together that at most ``most`` are left."""
    width = -(-len(points) // most) or 1
    groups = [points[i : i + width] for i in range(0, len(points), width)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def sampled(points: Points, *, most: int = 400) -> Points:
    """Every n-th point, the last one included, so that at most ``most`` are left; a staircase keeps its levels."""
    return points[::-1][:: -(-len(points) // most) or 1][::-1]


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
