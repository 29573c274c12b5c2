"""Table 1 as it is printed; paired differences and verdicts, recomputed by hand."""

import math

import pytest

from bireal_plugin.studies.ablation.paper_table import (
    ALL_CELLS,
    CLAIMS,
    PAPER_TOP1,
    PAPER_TOP1_34,
    ROWS,
    Cell,
    Finding,
    judge,
    paired_differences,
)

BY_TEXT = {claim.text: claim for claim in CLAIMS}


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


def test_34_layers_are_better_in_every_row_and_in_the_papers_order():
    assert list(PAPER_TOP1_34) == ROWS
    assert all(value > PAPER_TOP1[Cell('bireal', *row)] for row, value in PAPER_TOP1_34.items())
    assert PAPER_TOP1_34['clip', 'MagnitudeAware', 'ApproxSign'] == max(PAPER_TOP1_34.values()) == 62.2


def test_a_pair_differs_in_the_claimed_choice_and_shares_the_seed():
    accuracies = {
        (Cell('bireal', 'relu', 'Sign', 'STE'), 0): 50.0,
        (Cell('bireal', 'relu', 'MagnitudeAware', 'STE'), 0): 53.0,
        (Cell('bireal', 'relu', 'Sign', 'STE'), 1): 60.0,
        (Cell('bireal', 'relu', 'MagnitudeAware', 'STE'), 1): 59.0,
        (Cell('bireal', 'relu', 'MagnitudeAware', 'STE'), 2): 99.0,  # no partner with seed 2
        (Cell('plain', 'relu', 'MagnitudeAware', 'STE'), 0): 10.0,  # nor in this structure
    }
    assert sorted(paired_differences(accuracies, BY_TEXT['magnitude-aware > sign'])) == [-1.0, 3.0]


@pytest.mark.parametrize(
    ('text', 'differences'),
    [
        ('Bi-Real > Res', [5.1, 4.6, 6.6, 5.9, 4.6, 3.8, 11.2, 10.7]),
        ('Res > Plain', [24.5, 27.5, 29.6, 33.1, 29.6, 29.4, 35.7, 33.6]),
    ],
)
def test_structures_of_the_paper(text, differences):
    found = paired_differences({(cell, 0): value for cell, value in PAPER_TOP1.items()}, BY_TEXT[text])
    assert found == pytest.approx(differences)


@pytest.mark.parametrize('claim', CLAIMS, ids=lambda claim: claim.text)
def test_the_paper_holds_its_own_claims(claim):
    finding = judge(paired_differences({(cell, 0): value for cell, value in PAPER_TOP1.items()}, claim))
    assert finding.verdict == 'holds'
    assert finding.pairs == (8 if claim.choice == 'structure' else 12)


def test_mean_error_and_count():
    finding = judge([1.0, 2.0, 3.0, -2.0])
    # mean 1; squared deviations 0, 1, 4, 9 over n - 1 = 3; s / sqrt(4)
    assert (finding.pairs, finding.favourable, finding.mean) == (4, 3, 1.0)
    assert finding.error == pytest.approx(math.sqrt(14 / 3) / 2)


@pytest.mark.parametrize(
    ('mean', 'error', 'verdict'),
    [
        (2.1, 1.0, 'holds'),
        (2.0, 1.0, 'within noise'),
        (-2.0, 1.0, 'within noise'),
        (-2.1, 1.0, 'does not hold'),
        (9.0, None, 'within noise'),
        (None, None, None),
    ],
)
def test_verdict(mean, error, verdict):
    assert Finding(pairs=4, favourable=2, mean=mean, error=error).verdict == verdict


def test_one_pair_and_none():
    assert judge([1.5]) == Finding(pairs=1, favourable=1, mean=1.5, error=None)
    assert judge([]) == Finding(pairs=0, favourable=0, mean=None, error=None)
