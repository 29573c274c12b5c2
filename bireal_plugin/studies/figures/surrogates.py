"""Fig. 7: the surrogates of sign, the area between each and Sign, and their derivatives."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bireal_plugin.binary import sign
from bireal_plugin.binary.sign import Surrogate
from bireal_plugin.registry import SURROGATES
from bireal_plugin.studies.figures.style import CYCLE, GREY, new_figure, save, styled

DASHES = ('-', '--', '-.', ':')


def area_to_sign(surrogate: Surrogate) -> Fraction:
    """The area between F and Sign on [-1, 1], which the text gives as a fraction: smaller is nearer to Sign."""
    x = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    halves = [torch.trapezoid((1 - surrogate.polynomial(side * x) * side).abs(), x) for side in (-1, 1)]
    return Fraction(float(sum(halves))).limit_denominator(100)


def draw_surrogates(stem: Path) -> list[Path]:
    """``stem.png`` and ``stem.svg``: F of all registered surrogates with its area to Sign shaded, and all F'."""
    x = torch.linspace(-1.6, 1.6, 1601)
    names = list(SURROGATES.classes)
    with styled():
        figure = new_figure(5.2)
        panels = figure.subplot_mosaic([[*names], ["F'"] * len(names)])
        below = panels["F'"]
        for i, name in enumerate(names):
            surrogate = SURROGATES.build(name)
            colour = CYCLE[i % len(CYCLE)]
            _draw_area(panels[name], x, surrogate, colour)
            panels[name].set_title(f'{name}: area {area_to_sign(surrogate)}', loc='left')
            panels[name].set_xlabel('x, input of the sign')
            below.plot(x, surrogate.derivative(x), color=colour, linestyle=DASHES[i % len(DASHES)], label=name)
        panels[names[0]].set_ylabel('F(x), in the place of Sign')
        panels[names[0]].legend(loc='upper left')
        below.set_title("F', the derivative used in backward", loc='left')
        below.set_ylabel("F'(x)")
        below.set_xlabel('x, input of the sign')
        below.legend(loc='upper left')
        return save(figure, stem)


def _draw_area(axes: Any, x: Tensor, surrogate: Surrogate, colour: str) -> None:
    for half in (x[x < 0], x[x >= 0]):  # apart, or a line would join both sides of the jump
        axes.fill_between(half, sign(half), surrogate.polynomial(half), color=colour, alpha=0.25, linewidth=0)
        axes.plot(half, sign(half), color=GREY, linewidth=1.0, label='Sign' if half[0] < 0 else None)
    axes.plot(x, surrogate.polynomial(x), color=colour, label='F')
