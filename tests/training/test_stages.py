"""Stages in training and on disk: the weights each starts from, and which have ended and follow from each other."""

import json
import multiprocessing
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from bireal_plugin import BinaryConv2d, InputError
from bireal_plugin.training.recipe import stage_config, stage_model
from bireal_plugin.training.stages import (
    checkpoint_of,
    collect_results,
    is_done,
    note_start,
    stale_stages,
    weights_digest,
    write_json,
)

PROBE = (
    "custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)\n"
    "custom_hooks = [*_base_.custom_hooks, dict(type='WeightsProbe')]\n"
)
NAMES = ['float', 'clip', 'binary', 'bn']
PREVIOUS = dict(leaky_clip='float', clip='leaky_clip', binary='clip')


@pytest.fixture(scope='module')
def probed_run(run_tool, as_run, tiny_config, tmp_path_factory):
    """A run that wrote the weights each stage started from."""
    config = tmp_path_factory.mktemp('probed') / 'probed.py'
    config.write_text(f'_base_ = {str(tiny_config)!r}\n{PROBE}')
    folder = config.parent / 'run'
    return as_run(folder, run_tool('train.py', config, '--work-dir', folder))


def differing(one, other):
    """Names whose tensors are not equal bit for bit."""
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize('stage', list(PREVIOUS))
def test_stage_starts_from_the_weights_of_the_stage_before(probed_run, stage):
    started = torch.load(probed_run.folder / stage / 'first_0.pth', weights_only=True)
    assert differing(started, probed_run.weights(PREVIOUS[stage])) == set()


def test_bn_stage_starts_from_the_absorbed_weights(probed_run):
    started = torch.load(probed_run.folder / 'bn' / 'first_0.pth', weights_only=True)
    absorbed = torch.load(probed_run.folder / 'bn' / 'start.pth', weights_only=True)['state_dict']
    assert differing(started, absorbed) == set()


def test_stage_alone_is_the_stage_within_the_recipe(run_tool, as_run, tiny_config, finished_run, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    alone = as_run(folder, run_tool('train.py', tiny_config, '--work-dir', folder, '--stage', 'bn'))
    assert differing(alone.weights('bn'), finished_run.weights('bn')) == set()


def test_first_stage_starts_from_load_from(run_tool, tiny_config_with, finished_run, tmp_path):
    config = tiny_config_with(PROBE)
    weights = finished_run.folder / 'clip' / 'epoch_2.pth'
    options = (f'load_from={weights}', 'stages.float.train_cfg.max_epochs=1')
    run_tool('train.py', config, '--work-dir', tmp_path / 'run', '--stage', 'float', '--cfg-options', *options)
    started = torch.load(tmp_path / 'run' / 'float' / 'first_0.pth', weights_only=True)
    assert differing(started, finished_run.weights('clip')) == set()


def test_processes_of_the_data_loaders_end_with_the_training(run_tool, tiny_config, tmp_path):
    workers = ('num_workers=1', 'persistent_workers=True')
    loaders = [f'{name}_dataloader.{option}' for name in ('train', 'val') for option in workers]
    options = ('--cfg-options', *loaders, 'stages.float.train_cfg.max_epochs=1')
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path / 'run', '--stage', 'float', *options)
    assert ended.status == 0, ended.err
    assert multiprocessing.active_children() == []


@pytest.fixture
def networks(tiny_config, finished_run):
    """The binary stage's final network and the bn stage's first one, in float64, and 20 test images."""
    config = Config.fromfile(tiny_config)
    start = torch.load(finished_run.folder / 'bn' / 'start.pth', weights_only=True)['state_dict']
    pair = []
    for stage, state in (('binary', finished_run.weights('binary')), ('bn', start)):
        model = stage_model(config, stage)
        model.load_state_dict(state)
        pair.append(model.double().eval())
    dataset = DATASETS.build(stage_config(config, 'bn').test_dataloader.dataset)
    images = torch.stack([dataset[i]['inputs'] for i in range(20)])
    return *pair, pair[0].data_preprocessor(dict(inputs=images))['inputs'].double()


def test_nothing_is_lost_at_the_switch_to_exact_signs(networks):
    """The scales were absorbed in float32, so that a sign may flip, and move the outputs of one or two of 20 images."""
    binary, bn, images = networks
    distance = (bn(images) - binary(images)).abs().amax(1)
    assert (distance < 1e-4).sum() >= 18


def test_bn_stage_starts_with_the_accuracy_the_binary_stage_ended_with(run_tool, tiny_config, finished_run, tmp_path):
    """But for an image or two of 200, whose class a sign flipped by rounding may move."""
    start = finished_run.folder / 'bn' / 'start.pth'
    run_tool('test.py', tiny_config, start, '--work-dir', tmp_path, '--out', tmp_path / 'metrics.json')
    binary = next(row for row in finished_run.results if row['name'] == 'binary')
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['accuracy/top1'] == pytest.approx(binary['top1'], abs=1)


def test_bn_stage_trains_batch_norm_alone(finished_run, tiny_config):
    start = torch.load(finished_run.folder / 'bn' / 'start.pth', weights_only=True)['state_dict']
    model = stage_model(Config.fromfile(tiny_config), 'bn')
    kinds = dict(model.named_modules())
    norms = {name for name in start if isinstance(kinds[name.rpartition('.')[0]], torch.nn.BatchNorm2d)}
    assert differing(start, finished_run.weights('bn')) == norms


def test_every_binary_weight_ends_as_plus_or_minus_one(finished_run, tiny_config):
    model = stage_model(Config.fromfile(tiny_config), 'bn')
    model.load_state_dict(finished_run.weights('bn'))
    weights = [module.weight for module in model.modules() if isinstance(module, BinaryConv2d)]
    assert len(weights) == 16
    assert all(torch.equal(weight.abs(), torch.ones_like(weight)) for weight in weights)


def test_optimizer_groups_have_the_same_names_in_every_checkpoint(finished_run):
    names = {
        row['name']: [group['name'] for group in finished_run.checkpoint(row['name'])['optimizer']['param_groups']]
        for row in finished_run.results
    }
    assert all(groups == ['binary_conv', 'real_conv', 'norm', 'linear'] for groups in names.values())


def end(work_dir, name, digest):
    write_json(work_dir / name / 'result.json', dict(name=name, epochs=2, checkpoint='epoch_2.pth', digest=digest))


@pytest.fixture
def chain(tmp_path):
    """A finished run of four stages, each of which notes its start."""
    for previous, name in zip([None, *NAMES], NAMES, strict=False):
        if previous is not None:
            note_start(tmp_path, previous, name)
        end(tmp_path, name, f'weights of {name}')
    return tmp_path


def listed(work_dir):
    return [row['name'] for row in collect_results(work_dir, NAMES)]


def test_a_run_from_end_to_end_is_not_stale(chain):
    assert stale_stages(chain, NAMES) == set()
    assert listed(chain) == NAMES


@pytest.mark.parametrize('retrained', range(4))
def test_all_stages_behind_one_that_was_trained_again_are_stale(chain, retrained):
    end(chain, NAMES[retrained], 'others')
    assert stale_stages(chain, NAMES) == set(NAMES[retrained + 1 :])
    assert listed(chain) == NAMES[: retrained + 1]


@pytest.mark.parametrize('retrained', range(4))
def test_they_are_while_it_is_trained_too(chain, retrained):
    (chain / NAMES[retrained] / 'result.json').unlink()
    assert listed(chain) == NAMES[:retrained]


def test_training_it_again_to_the_same_weights_changes_nothing(chain):
    end(chain, 'clip', 'weights of clip')
    assert stale_stages(chain, NAMES) == set()


def test_a_later_stage_trained_from_the_new_weights_is_listed_again(chain):
    end(chain, 'clip', 'others')
    note_start(chain, 'clip', 'binary')
    end(chain, 'binary', 'weights of others')
    assert listed(chain) == ['float', 'clip', 'binary']


def test_a_stage_with_a_start_of_its_own_follows_from_none(chain):
    (chain / 'binary' / 'start.json').unlink()
    end(chain, 'float', 'others')
    assert stale_stages(chain, NAMES) == {'clip'}


def test_rows_are_what_the_table_shows(chain):
    assert collect_results(chain, NAMES)[0] == dict(name='float', epochs=2, checkpoint='float/epoch_2.pth')


@pytest.mark.parametrize(
    ('train_cfg', 'result', 'done'),
    [
        (dict(max_epochs=2), dict(epochs=2), True),
        (dict(max_epochs=3), dict(epochs=2), False),
        (dict(max_epochs=1), dict(epochs=2), True),
        (dict(by_epoch=False, max_iters=70), dict(iterations=60), False),
        (dict(by_epoch=False, max_iters=60), dict(iterations=60), True),
        (dict(max_epochs=2), None, False),
    ],
)
def test_a_stage_is_done_when_it_is_as_long_as_its_config_says(tmp_path, train_cfg, result, done):
    if result is not None:
        write_json(tmp_path / 'result.json', result)
    assert is_done(Config(dict(train_cfg=train_cfg)), tmp_path) == done


def test_the_checkpoint_of_a_stage_that_has_not_ended_is_asked_for(chain):
    assert checkpoint_of(chain, 'clip', wanted_by='binary') == chain / 'clip' / 'epoch_2.pth'
    (chain / 'clip' / 'result.json').unlink()
    with pytest.raises(InputError, match="stage 'binary' starts from stage 'clip', which has not ended"):
        checkpoint_of(chain, 'clip', wanted_by='binary')


@pytest.mark.parametrize(
    ('other', 'same'),
    [
        (dict(a=torch.tensor([1.0, 2.0]), b=torch.tensor(3, dtype=torch.int64)), True),
        (dict(a=torch.tensor([1.0, 2.5]), b=torch.tensor(3, dtype=torch.int64)), False),
        (dict(a=torch.tensor([1.0, 2.0]), c=torch.tensor(3, dtype=torch.int64)), False),
    ],
    ids=['same', 'value', 'name'],
)
def test_a_digest_is_of_the_weights_alone(tmp_path, other, same):
    weights = dict(a=torch.tensor([1.0, 2.0]), b=torch.tensor(3, dtype=torch.int64))
    torch.save(dict(state_dict=weights, meta=dict(time='monday')), tmp_path / 'one.pth')
    torch.save(dict(state_dict=other, meta=dict(time='tuesday')), tmp_path / 'two.pth')
    assert (weights_digest(tmp_path / 'one.pth') == weights_digest(tmp_path / 'two.pth')) == same
