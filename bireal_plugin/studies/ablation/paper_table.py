"""Table 1 of the Bi-Real Net paper (IJCV): top-1 accuracy of every choice at 18 layers on ImageNet."""

from __future__ import annotations

from dataclasses import dataclass

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
