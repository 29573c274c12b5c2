"""Tables from invented accuracies, read back and recomputed."""

import csv
import io
import json
import statistics

import pytest

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.grid import Roles, plan_units
from bireal_plugin.studies.ablation.paper_table import Cell
from bireal_plugin.studies.ablation.report import (
    RealRow,
    Row,
    collect_real_rows,
    collect_rows,
    csv_text,
    order_text,
    table_text,
)

BEST = Cell('bireal', 'clip', 'MagnitudeAware', 'ApproxSign')
SIGN = Cell('bireal', 'clip', 'Sign', 'ApproxSign')
TOP1 = {(BEST, 0): 81.0, (BEST, 1): 83.0, (BEST, 2): 82.5, (SIGN, 0): 80.0, (SIGN, 1): 80.5, (SIGN, 2): 83.0}
ROWS = [Row(cell, seed, top1, 12.5, 'a/b.pth') for (cell, seed), top1 in TOP1.items()]
ROLES = Roles(dict(relu='float', clip='clip'), ('float', 'clip'), ('step1', 'step2'), ())


def cells_of(markdown, *start):
    """The cells of the table's line that starts with ``start``."""
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in markdown.splitlines() if '|' in line]
    return next(line for line in lines if tuple(line[: len(start)]) == start)


def test_mean_and_standard_deviation_beside_the_paper():
    line = cells_of(table_text(ROWS, [], title='x'), 'Clip', 'MagnitudeAware', 'ApproxSign')
    spread = statistics.stdev([81.0, 83.0, 82.5])
    assert line[3:] == [f'{246.5 / 3:.2f} ± {spread:.2f}', '56.4', '62.2', '', '45.7', '', '12.1']


def test_one_seed_has_no_spread():
    line = cells_of(table_text(ROWS[:1], [], title='x'), 'Clip', 'MagnitudeAware', 'ApproxSign')
    assert line[3] == '81.00'


def test_the_table_has_a_row_for_each_of_the_eight_cells_and_two_real_networks():
    real = [RealRow('resnet', 'relu', 0, 90.0), RealRow('resnet', 'relu', 1, 91.0)]
    text = table_text(ROWS, real, title='x')
    assert sum(line.startswith(('| ReLU', '| Clip')) for line in text.splitlines()) == 10
    assert cells_of(text, 'ReLU', 'real')[6] == f'90.50 ± {statistics.stdev([90.0, 91.0]):.2f}'


def test_csv_has_one_line_per_cell_and_seed():
    rows = list(csv.DictReader(io.StringIO(csv_text(ROWS))))
    assert len(rows) == len(ROWS)
    assert rows[1] == dict(
        structure='bireal',
        initialisation='clip',
        weight='MagnitudeAware',
        sign='ApproxSign',
        seed='1',
        top1='83.000',
        paper_top1='56.4',
        seconds='12.5',
        checkpoint='a/b.pth',
    )


def test_order_has_the_paired_difference_its_error_and_the_verdict():
    differences = [1.0, 2.5, -0.5]
    mean, error = statistics.mean(differences), statistics.stdev(differences) / 3**0.5
    line = cells_of(order_text(ROWS, title='x'), 'magnitude-aware > sign')
    assert line[1:5] == [f'+{mean:.2f}', f'{error:.2f}', '2 of 3', 'within noise']
    paper = [7.6, 10.7, 16.2, 18.3, 6.1, 9.4, 9.6, 11.4, 1.0, 3.8, 3.5, 7.2]  # Table 1, proposed - original weights
    assert float(line[5]) == pytest.approx(statistics.mean(paper), abs=0.05)


def test_a_claim_without_pairs_has_no_verdict():
    assert cells_of(order_text(ROWS, title='x'), 'Bi-Real > Res')[1:5] == ['', '', '0 of 0', 'no pairs']


def write_result(work_dir, unit, **row):
    folder = work_dir / unit.folder / unit.stage
    folder.mkdir(parents=True)
    result = dict(name=unit.stage, seconds=10.0, checkpoint='epoch_1.pth', **row)
    (folder / 'result.json').write_text(json.dumps(result))


def test_a_cell_counts_when_its_last_stage_has_ended(tmp_path):
    units = plan_units(ROLES, [BEST], [0, 1])
    for unit in units[:-1]:
        write_result(tmp_path, unit, top1=70.0 + len(unit.stage))
    assert collect_rows(tmp_path, units) == [
        Row(BEST, 0, 75.0, 20.0, 'bireal/seed0/clip-MagnitudeAware-ApproxSign/step2/epoch_1.pth')
    ]
    assert collect_real_rows(tmp_path, units, ROLES.start) == [
        RealRow('bireal', 'relu', 0, 75.0),
        RealRow('bireal', 'clip', 0, 74.0),
        RealRow('bireal', 'relu', 1, 75.0),
        RealRow('bireal', 'clip', 1, 74.0),
    ]


def test_a_stage_without_top1_is_named(tmp_path):
    units = plan_units(ROLES, [BEST], [0])
    write_result(tmp_path, units[-1], delta1=0.8)
    with pytest.raises(InputError, match='step2 has no top-1 accuracy'):
        collect_rows(tmp_path, units)
