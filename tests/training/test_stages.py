"""What passes from one stage to the next, and what the last one may not touch."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from bireal_plugin import BinaryConv2d
from bireal_plugin.training.recipe import stage_config, stage_model

PROBE = (
    "custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)\n"
    "custom_hooks = [*_base_.custom_hooks, dict(type='WeightsProbe')]\n"
)
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


def test_bn_stage_leaves_convolutions_alone_and_trains_the_rest(finished_run, tiny_config):
    start = torch.load(finished_run.folder / 'bn' / 'start.pth', weights_only=True)['state_dict']
    model = stage_model(Config.fromfile(tiny_config), 'bn')
    kinds = dict(model.named_modules())
    convolutions = {name for name in start if isinstance(kinds[name.rpartition('.')[0]], torch.nn.Conv2d)}
    assert differing(start, finished_run.weights('bn')) == start.keys() - convolutions


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
