"""Fig. 7: the surrogates of sign and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from bireal_plugin.binary import sign
from bireal_plugin.registry import SURROGATES
from bireal_plugin.studies.figures.style import CYCLE, GREY, new_figure, save, styled

DASHES = ('-', '--', '-.', ':')


def draw_surrogates(stem: Path, names: Sequence[str] | None = None) -> list[Path]:
    """``stem.png`` and ``stem.svg``: F and F' of the surrogates called ``names``, all registered ones by default."""
    x = torch.linspace(-1.6, 1.6, 1601)
    with styled():
        figure = new_figure(3.4)
        left, right = figure.subplots(1, 2)
        for half in (x[x < 0], x[x >= 0]):  # apart, or a line would join both sides of the jump
            left.plot(half, sign(half), color=GREY, linewidth=1.0, label='Sign' if half[0] < 0 else None)
        for i, name in enumerate(names or SURROGATES.classes):
            surrogate = SURROGATES.build(name)
            look = dict(color=CYCLE[i % len(CYCLE)], linestyle=DASHES[i % len(DASHES)], label=name)
            left.plot(x, surrogate.polynomial(x), **look)
            right.plot(x, surrogate.derivative(x), **look)
        left.set_title('F, the function in the place of Sign', loc='left')
        right.set_title("F', the derivative used in backward", loc='left')
        left.set_ylabel('F(x)')
        right.set_ylabel("F'(x)")
        for axes in (left, right):
            axes.set_xlabel('x, input of the sign')
        left.legend(loc='upper left')
        right.legend(loc='upper left')
        return save(figure, stem)
