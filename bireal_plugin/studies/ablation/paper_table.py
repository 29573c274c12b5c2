"""Table 1 of the Bi-Real Net paper (IJCV): top-1 accuracy of every choice on ImageNet, and its order at 18 layers.

The order that the paper claims is checked by differences between cells that differ in one choice and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

STRUCTURES = ('bireal', 'resnet', 'plain')
INITIALISATIONS = ('relu', 'clip')
WEIGHTS = ('Sign', 'MagnitudeAware')  # original, proposed
SIGNS = ('STE', 'ApproxSign')  # original, proposed


@dataclass(frozen=True)
class Cell:
    """One network of Table 1: a structure and three choices, by the names that configs use."""

    structure: str
    initialisation: str
    weight: str
    sign: str

    @property
    def choices(self) -> str:
        """The row of Table 1, such as ``clip-MagnitudeAware-ApproxSign``."""
        return f'{self.initialisation}-{self.weight}-{self.sign}'

    @property
    def name(self) -> str:
        """``structure-initialisation-weight-sign``."""
        return f'{self.structure}-{self.choices}'


ROWS = [(initialisation, weight, sign) for initialisation in INITIALISATIONS for weight in WEIGHTS for sign in SIGNS]
ALL_CELLS = [Cell(structure, *row) for structure in STRUCTURES for row in ROWS]

_TOP1 = """
32.9 27.8  3.3
36.8 32.2  4.7
40.5 33.9  4.3
47.5 41.6  8.5
37.4 32.8  3.2
38.1 34.3  4.9
53.6 42.4  6.7
56.4 45.7 12.1
"""

# Top-1 accuracy on ImageNet in %, 18 layers; lines of _TOP1 are ROWS, columns STRUCTURES.
PAPER_TOP1: dict[Cell, float] = {
    Cell(structure, *row): float(value)
    for row, line in zip(ROWS, _TOP1.split('\n')[1:-1], strict=True)
    for structure, value in zip(STRUCTURES, line.split(), strict=True)
}

# The same of Bi-Real-34, by ROWS; the paper has no 34 layers of the other structures.
PAPER_TOP1_34 = dict(zip(ROWS, (53.1, 58.0, 59.9, 61.4, 55.9, 58.1, 60.8, 62.2), strict=True))

Verdict = Literal['holds', 'does not hold', 'within noise']
Accuracies = Mapping[tuple[Cell, int], float]  # (cell, seed) -> top-1 in %

MARGIN = 2.0  # standard errors that a mean difference must exceed


@dataclass(frozen=True)
class Claim:
    """``better`` beats (or at least equals) ``worse``, all else being the same."""

    text: str
    choice: str
    better: str
    worse: str


CLAIMS = (
    Claim('Bi-Real > Res', 'structure', 'bireal', 'resnet'),
    Claim('Res > Plain', 'structure', 'resnet', 'plain'),
    Claim('magnitude-aware > sign', 'weight', 'MagnitudeAware', 'Sign'),
    Claim('ApproxSign ≥ clip', 'sign', 'ApproxSign', 'STE'),
    Claim('clip init ≥ ReLU init', 'initialisation', 'clip', 'relu'),
)


@dataclass(frozen=True)
class Finding:
    """Paired differences of one claim, in percentage points.

    Attributes:
        pairs: their number. favourable: number of differences > 0.
        mean: None without pairs. error: standard error of the mean; None below two pairs.
    """

    pairs: int
    favourable: int
    mean: float | None
    error: float | None

    @property
    def verdict(self) -> Verdict | None:
        """The sign of the mean where it exceeds two standard errors, else (or from one pair) 'within noise'."""
        if self.mean is None:
            return None
        if self.error is None or abs(self.mean) <= MARGIN * self.error:
            return 'within noise'
        return 'holds' if self.mean > 0 else 'does not hold'


def paired_differences(accuracies: Accuracies, claim: Claim) -> list[float]:
    """Better minus worse, for all cells and seeds of which both are trained."""
    differences = []
    for (cell, seed), value in accuracies.items():
        partner = (replace(cell, **{claim.choice: claim.worse}), seed)
        if getattr(cell, claim.choice) == claim.better and partner in accuracies:
            differences.append(value - accuracies[partner])
    return differences


def judge(differences: Sequence[float]) -> Finding:
    """Mean, standard error ``s / sqrt(n)`` and count of the differences."""
    count = len(differences)
    return Finding(
        pairs=count,
        favourable=sum(difference > 0 for difference in differences),
        mean=fmean(differences) if count else None,
        error=stdev(differences) / math.sqrt(count) if count > 1 else None,
    )
