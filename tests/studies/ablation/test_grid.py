"""Which stages the grid trains, where each starts, and with what config."""

from pathlib import Path

import pytest
from mmengine.config import Config

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.grid import (
    Roles,
    choose_cells,
    expected_seconds,
    plan_units,
    stage_roles,
    unit_config,
)
from bireal_plugin.studies.ablation.paper_table import ALL_CELLS, Cell
from bireal_plugin.training import stage_config

CONFIGS = Path(__file__).parents[3] / 'configs'
BASIC = Roles(dict(relu='float', clip='clip'), ('float', 'leaky_clip', 'clip'), ('binary',), ('bn',))
BEST = Cell('bireal', 'clip', 'MagnitudeAware', 'ApproxSign')


def config_of(name):
    return Config.fromfile(CONFIGS / name)


def test_the_whole_grid_trains_each_real_network_once():
    units = plan_units(BASIC, ALL_CELLS, range(3))
    assert len(units) == 3 * (3 * 3 + 24)
    assert len({unit.place for unit in units}) == len(units)
    assert sum(unit.stage == 'float' for unit in units) == 9


def test_units_come_behind_what_they_start_from():
    seen = set()
    for unit in plan_units(BASIC, ALL_CELLS, range(2), with_norm=True):
        assert unit.after is None or unit.after in seen
        seen.add(unit.place)


@pytest.mark.parametrize(('initialisation', 'source'), [('relu', 'float'), ('clip', 'clip')])
def test_cells_start_from_the_real_network_of_their_initialisation(initialisation, source):
    units = plan_units(BASIC, ALL_CELLS, [1])
    sources = {unit.after for unit in units if unit.cell and unit.cell.initialisation == initialisation}
    assert sources == {(f'{structure}/seed1/real', source) for structure in ('bireal', 'resnet', 'plain')}


def test_relu_cells_alone_need_no_clip_network():
    units = plan_units(BASIC, choose_cells(['plain-relu-Sign-*']), [0])
    assert [unit.stage for unit in units] == ['float', 'binary', 'binary']


@pytest.mark.parametrize(('with_norm', 'stages'), [(False, ['step1', 'step2']), (True, ['step1', 'step2', 'bn'])])
def test_two_step_binarization_is_a_chain_whose_last_stage_counts(with_norm, stages):
    roles = stage_roles(config_of('bireal_r50_imagenet.py'))
    units = [unit for unit in plan_units(roles, [BEST], [0], with_norm=with_norm) if unit.cell]
    assert [unit.stage for unit in units] == stages
    assert [unit.after[1] for unit in units] == ['clip', *stages[:-1]]
    assert [unit.last for unit in units] == [stage == stages[-1] for stage in stages]


def test_roles_of_the_basic_recipe():
    assert stage_roles(config_of('bireal_r18_digits.py')) == BASIC


def test_a_config_without_clip_stage_is_refused():
    config = config_of('bireal_r18_digits.py')
    del config.stages['clip']
    with pytest.raises(InputError, match="no stage with activation='clip'"):
        stage_roles(config)


def test_a_config_without_stages_is_refused():
    with pytest.raises(InputError, match='needs a config with stages'):
        stage_roles(Config(dict(model=dict(backbone=dict(type='BiRealResNet')))))


@pytest.mark.parametrize(('pattern', 'count'), [('bireal-*', 8), ('*-clip-*', 12), ('plain-relu-Sign-STE', 1)])
def test_patterns(pattern, count):
    assert len(choose_cells([pattern])) == count


def test_overlapping_patterns_choose_a_cell_once():
    assert len(choose_cells(['bireal-*', '*-STE'])) == 8 + 12 - 4


def test_an_unknown_cell_is_refused():
    with pytest.raises(InputError, match='--cells bireal: no cell'):
        choose_cells(['bireal'])


@pytest.mark.parametrize('cell', [BEST, Cell('plain', 'relu', 'Sign', 'STE')], ids=lambda cell: cell.name)
def test_config_of_a_cell(cell):
    unit = plan_units(BASIC, [cell], [7], with_norm=True)[-2]
    config = unit_config(config_of('bireal_r18_digits.py'), unit, BASIC, start='/a/b.pth')
    stage = stage_config(config, 'binary')
    chosen = stage.model.backbone
    assert (chosen.structure, chosen.weight, chosen.sign) == (cell.structure, cell.weight, cell.sign)
    assert (chosen.activation, chosen.weights) == ('sign', 'binary')
    assert (stage.load_from, stage.load_strict) == ('/a/b.pth', True)
    assert (stage.randomness.seed, stage.train_dataloader.dataset.seed) == (7, 7)


def test_absorbed_weights_stay_signs_behind_the_cells_surrogate():
    unit = plan_units(BASIC, [Cell('resnet', 'clip', 'MagnitudeAware', 'STE')], [0], with_norm=True)[-1]
    backbone = stage_config(unit_config(config_of('bireal_r18_digits.py'), unit, BASIC), 'bn').model.backbone
    assert (backbone.structure, backbone.weight, backbone.sign) == ('resnet', 'Sign', 'STE')


def test_real_stages_have_the_structure_and_no_choice_of_a_cell():
    unit = plan_units(BASIC, [Cell('plain', 'clip', 'Sign', 'STE')], [2])[0]
    config = unit_config(config_of('bireal_r18_digits.py'), unit, BASIC)
    assert list(config.stages) == ['float', 'leaky_clip', 'clip']
    backbone = stage_config(config, 'float').model.backbone
    assert backbone.structure == 'plain'
    assert backbone.activation == 'relu'
    assert 'weight' not in backbone
    assert 'sign' not in backbone


def test_the_original_config_stays_as_it_was():
    config = config_of('bireal_r18_digits.py')
    before = config.to_dict()
    unit_config(config, plan_units(BASIC, [BEST], [3])[-1], BASIC, start='x')
    assert config.to_dict() == before


@pytest.mark.parametrize(
    ('remaining', 'known', 'jobs', 'seconds'),
    [
        ([('binary', 5), ('binary', 5)], [('float', 4, 8.0), ('binary', 5, 20.0)], 1, 40.0),
        ([('binary', 5), ('binary', 5)], [('float', 4, 8.0), ('binary', 5, 20.0)], 2, 20.0),
        ([('float', 2), ('binary', 5)], [('float', 4, 8.0), ('float', 4, 16.0)], 1, 6.0 + 15.0),
        ([('binary', 5)], [], 1, None),
        ([], [('float', 4, 8.0)], 1, 0.0),
    ],
)
def test_expected_seconds(remaining, known, jobs, seconds):
    assert expected_seconds(remaining, known, jobs=jobs) == seconds


def test_the_fashion_mnist_grid_is_planned_for_three_seeds():
    config = config_of('studies/ablation_fashion_mnist.py')
    assert stage_roles(config) == BASIC
    epochs = {name: stage_config(config, name).train_cfg.max_epochs for name in config.stages}
    images = 9 * sum(epochs[name] for name in BASIC.real) * 12_000 + 72 * epochs['binary'] * 12_000
    assert images < 6_000_000  # 40 minutes at 2500 images/s


@pytest.mark.parametrize('study', ['no_leaky', 'clip_rate'])
def test_grids_of_other_clip_stages_differ_in_nothing_but_these(study):
    base, other = (stages_of(f'studies/ablation{name}_fashion_mnist.py') for name in ('', f'_{study}'))
    assert {name: stage for name, stage in base.items() if other.get(name) != stage}.keys() == {'leaky_clip', 'clip'}
    assert len({sum(each['train_cfg']['max_epochs'] for each in stages.values()) for stages in (base, other)}) == 1
    assert list(other) == [name for name in base if (study, name) != ('no_leaky', 'leaky_clip')]
    units = plan_units(stage_roles(config_of(f'studies/ablation_{study}_fashion_mnist.py')), ALL_CELLS[7:8], [0])
    assert (units[-1].cell.initialisation, units[-1].after[1]) == ('clip', 'clip')


def stages_of(name):
    """What each stage trains, as plain dictionaries."""
    config = config_of(name)
    return {stage: {**stage_config(config, stage).to_dict(), 'recipe': None} for stage in config.stages}
