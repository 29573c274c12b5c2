"""Table 1 as it is printed."""

import pytest

from bireal_plugin.studies.ablation.paper_table import ALL_CELLS, PAPER_TOP1, Cell


def test_every_cell_once():
    assert len(set(ALL_CELLS)) == 24
    assert PAPER_TOP1.keys() == set(ALL_CELLS)


@pytest.mark.parametrize(
    ('cell', 'top1'),
    [
        (Cell('bireal', 'clip', 'MagnitudeAware', 'ApproxSign'), 56.4),
        (Cell('bireal', 'relu', 'Sign', 'STE'), 32.9),
        (Cell('resnet', 'relu', 'MagnitudeAware', 'STE'), 33.9),
        (Cell('plain', 'clip', 'Sign', 'ApproxSign'), 4.9),
    ],
)
def test_values_stand_in_their_cells(cell, top1):
    assert PAPER_TOP1[cell] == top1
