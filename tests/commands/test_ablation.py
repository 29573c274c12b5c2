"""tools/ablation.py on a few digits: what it writes, and that stopping it changes nothing."""

import csv
import json
import shutil

import pytest
import torch

CELLS = ('bireal-clip-MagnitudeAware-ApproxSign', 'bireal-relu-Sign-STE')
SHORT = """
train_dataloader = dict(dataset=dict(subset=160))
stages = dict(
    float=dict(train_cfg=dict(max_epochs=2)),
    clip=dict(train_cfg=dict(max_epochs=1)),
    binary=dict(train_cfg=dict(max_epochs=2)),
)
"""


def grid_arguments(config, folder, *more):
    return ('ablation.py', config, '--work-dir', folder, '--seeds', '1', '--cells', *CELLS, *more)


@pytest.fixture(scope='module')
def grid_config(tiny_config, tmp_path_factory):
    path = tmp_path_factory.mktemp('grid') / 'grid.py'
    path.write_text(f'_base_ = {str(tiny_config)!r}\n{SHORT}')
    return path


@pytest.fixture(scope='module')
def finished_grid(run_tool, grid_config, tmp_path_factory):
    """(work directory, how the command ended) of two cells."""
    folder = tmp_path_factory.mktemp('work_dirs') / 'grid'
    ended = run_tool(*grid_arguments(grid_config, folder))
    assert ended.status == 0, ended.err
    return folder, ended


def results(folder):
    """result.json of every unit, without its timing."""
    rows = {path.parent.relative_to(folder): json.loads(path.read_text()) for path in folder.rglob('result.json')}
    return {str(place): {**row, 'seconds': 0} for place, row in rows.items()}


def weights(folder, place):
    row = results(folder)[place]
    return torch.load(folder / place / row['checkpoint'], weights_only=True)['state_dict']


@pytest.mark.slow
def test_two_cells_share_one_real_network(finished_grid):
    folder, ended = finished_grid
    real, cells = 'bireal/seed0/real', 'bireal/seed0'
    assert results(folder).keys() == {
        f'{real}/float',
        f'{real}/leaky_clip',
        f'{real}/clip',
        f'{cells}/clip-MagnitudeAware-ApproxSign/binary',
        f'{cells}/relu-Sign-STE/binary',
    }
    assert 'unit 5 of 5' in ended.out


@pytest.mark.slow
def test_each_cell_is_the_network_it_is_called(finished_grid):
    folder, _ = finished_grid
    for name, parts in (('clip-MagnitudeAware-ApproxSign', ('clip', 'ep')), ('relu-Sign-STE', ('float', 'ep'))):
        text = next((folder / 'bireal/seed0' / name / 'binary').glob('*.py')).read_text()
        _, weight, sign = name.split('-')
        assert f"weight='{weight}'" in text
        assert f"sign='{sign}'" in text
        assert f'/real/{"/".join(parts)}' in text


@pytest.mark.slow
def test_the_files_agree_with_the_results(finished_grid):
    folder, _ = finished_grid
    rows = list(csv.DictReader((folder / 'ablation.csv').open()))
    assert ['-'.join((row['structure'], row['initialisation'], row['weight'], row['sign'])) for row in rows] == [
        'bireal-relu-Sign-STE',
        'bireal-clip-MagnitudeAware-ApproxSign',
    ]
    table, order = (' '.join((folder / name).read_text().split()) for name in ('ablation.md', 'order.md'))
    for row in rows:
        result = json.loads((folder / row['checkpoint']).with_name('result.json').read_text())
        assert float(row['top1']) == pytest.approx(result['top1'], abs=5e-4)
        assert f'| {result["top1"]:.2f} | {row["paper_top1"]} |' in table
    assert '| Bi-Real > Res | | | 0 of 0 | no pairs | +6.6 |' in order
    assert all((folder / f'ablation.{kind}').stat().st_size > 10_000 for kind in ('png', 'svg'))


@pytest.mark.slow
def test_started_again_it_trains_nothing(run_tool, grid_config, finished_grid):
    folder, first = finished_grid
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*.pth')}
    again = run_tool(*grid_arguments(grid_config, folder))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob('*.pth')} == before
    assert again.out.startswith('5 of 5 units had ended before')
    assert again.out.partition('# The grid')[2] == first.out.partition('# The grid')[2]


@pytest.mark.parametrize(('stage', 'epoch'), [('leaky_clip', 0), ('binary', 1)])
@pytest.mark.slow
def test_interrupted_and_started_again_equals_uninterrupted(
    run_tool, grid_config, finished_grid, tmp_path, stage, epoch
):
    config = tmp_path / 'grid.py'
    config.write_text(
        f'_base_ = {str(grid_config)!r}\n'
        "custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)\n"
        f"custom_hooks = _base_.custom_hooks + [dict(type='StopOnce', marker='{tmp_path}/stopped', stage='{stage}', "
        f'epoch={epoch}, iteration=1)]'
    )
    folder = tmp_path / 'grid'
    assert run_tool(*grid_arguments(config, folder)).status == 130
    assert run_tool(*grid_arguments(config, folder)).status == 0
    assert results(folder) == results(finished_grid[0])
    for place in results(folder):
        ours, theirs = weights(folder, place), weights(finished_grid[0], place)
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.slow
def test_two_jobs_train_the_same_networks(start_tool, grid_config, finished_grid, tmp_path):
    folder = tmp_path / 'grid'
    shutil.copytree(finished_grid[0] / 'bireal/seed0/real', folder / 'bireal/seed0/real')
    ended = start_tool(*grid_arguments(grid_config, folder, '--jobs', '2'))
    assert ended.status == 0, ended.err
    assert ended.out.startswith('3 of 5 units had ended before')
    assert results(folder) == results(finished_grid[0])
    assert 'Epoch(train)' not in ended.out  # only lines of progress


@pytest.mark.slow
def test_more_seeds_are_added_to_what_is_there(run_tool, grid_config, finished_grid, tmp_path):
    folder = tmp_path / 'grid'
    shutil.copytree(finished_grid[0], folder)
    cell = CELLS[1]
    ended = run_tool('ablation.py', grid_config, '--work-dir', folder, '--seeds', '2', '--cells', cell)
    assert ended.out.startswith('2 of 4 units had ended before')
    first, second = (weights(folder, f'bireal/seed{seed}/real/float') for seed in (0, 1))
    assert not torch.equal(first['fc.weight'], second['fc.weight'])
    rows = list(csv.DictReader((folder / 'ablation.csv').open()))
    assert [row['seed'] for row in rows] == ['0', '1']


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('--cells', 'bireal'), 'error: --cells bireal: no cell is called so'),
        (('--seeds', '0'), 'error: --seeds and --jobs must be 1 or more'),
        (('--cfg-options', 'stages.clip.model.backbone.activation=relu'), "has no stage with activation='clip'"),
    ],
)
def test_mistakes(run_tool, grid_config, tmp_path, arguments, sentence):
    ended = run_tool('ablation.py', grid_config, '--work-dir', tmp_path / 'grid', *arguments)
    assert ended.status == 1
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.slow
def test_other_settings_in_the_same_directory_are_refused(run_tool, grid_config, finished_grid):
    arguments = grid_arguments(grid_config, finished_grid[0], '--cfg-options', 'stages.binary.train_cfg.max_epochs=9')
    ended = run_tool(*arguments)
    assert ended.status == 1
    assert 'was begun with another stages.binary.train_cfg.max_epochs;' in ended.err


def test_variants_take_no_cells_of_the_grid(run_tool, tmp_path):
    ended = run_tool('ablation.py', 'deeper_digits', '--work-dir', tmp_path, '--jobs', '2')
    assert ended.status == 1
    assert 'deeper_digits.py lists variants; --cells, --with-bn and --jobs are of the grid' in ended.err
