"""The order that the paper claims, checked by differences between cells that differ in one choice and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from bireal_plugin.studies.ablation.paper_table import Cell

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
