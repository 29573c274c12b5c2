"""A checkpoint from the middle of a plan tells its phase, and is loaded, tested and resumed as the network it is."""

import json

import pytest
import torch
from mmengine.registry import DATASETS

from bireal_plugin import InputError, load_trained
from bireal_plugin.binary import Clip, MagnitudeAware, Sign, binary_convolutions
from bireal_plugin.training.trained import trained_config

PLAN = """
_base_ = {tiny!r}
stages = None
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='TwoStepBinarizationHook', step1=2, step2=3, bn=4, activations=dict(relu=0, clip=1)),
    dict(type='MagnitudeAwareHook', interval=0, plan=dict(Sign=0, MagnitudeAware=3)),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))
optim_wrapper = dict(optimizer=dict(lr=0.02, weight_decay=1e-4))
train_cfg = dict(max_epochs=5)
train_dataloader = dict(dataset=dict(subset=200))
"""
PHASES = ['relu', 'clip', 'step1', 'step2', 'bn']


@pytest.fixture(scope='module')
def planned(run_tool, tiny_config, tmp_path_factory):
    """Config and folder of a run of five epochs, each in another phase."""
    folder = tmp_path_factory.mktemp('planned')
    config = folder / 'planned.py'
    config.write_text(PLAN.format(tiny=str(tiny_config)))
    ended = run_tool('train.py', config, '--work-dir', folder / 'run')
    assert ended.status == 0, ended.err
    return config, folder / 'run'


def validated(folder, epoch):
    """The accuracy that the run measured after an epoch."""
    lines = [json.loads(line) for line in next(folder.rglob('scalars.json')).read_text().splitlines()]
    return next(line['accuracy/top1'] for line in lines if line.get('step') == epoch and 'accuracy/top1' in line)


@pytest.mark.parametrize('given', [True, False], ids=['with config', 'without'])
@pytest.mark.parametrize('epoch', range(1, 6))
def test_a_checkpoint_is_loaded_as_the_network_of_its_phase(planned, epoch, given):
    config, folder = planned
    path = folder / f'epoch_{epoch}.pth'
    model, loaded = load_trained(config if given else None, path)
    first = next(conv for _, conv in binary_convolutions(model))
    phase = PHASES[epoch - 1]
    assert (first.binary_input, first.binary_weight) == (epoch > 2, epoch > 3)
    assert isinstance(first.activation, Clip) == (phase == 'clip')
    assert isinstance(first.weight_binarizer, MagnitudeAware if epoch > 3 else Sign)
    dataset = DATASETS.build(loaded.val_dataloader.dataset)
    images = torch.stack([dataset[index]['inputs'] for index in range(len(dataset))])
    with torch.no_grad():
        best = model(model.data_preprocessor(dict(inputs=images))['inputs']).argmax(1)
    accuracy = 100 * (best == torch.tensor(dataset.targets)).double().mean().item()
    assert accuracy == pytest.approx(validated(folder, epoch), abs=0.51)  # one image of 200


@pytest.mark.parametrize('epoch', [2, 4])
def test_it_is_tested_at_the_accuracy_of_its_phase(run_tool, planned, tmp_path, epoch):
    config, folder = planned
    out = tmp_path / 'metrics.json'
    arguments = (config, folder / f'epoch_{epoch}.pth', '--work-dir', tmp_path, '--out', out)
    assert run_tool('test.py', *arguments).status == 0
    assert json.loads(out.read_text())['accuracy/top1'] == validated(folder, epoch)


def test_the_best_checkpoint_tells_its_phase_too(planned):
    (best,) = planned[1].glob('best_*.pth')
    meta = torch.load(best, weights_only=True)['meta']
    assert meta['phases']['TwoStepBinarizationHook'] == PHASES[meta['epoch'] - 1]


@pytest.mark.parametrize('phases', [{'TwoStepBinarizationHook': 'step3'}, {'Hook': 'bn'}, 'bn', {'os.system': 'ls'}])
def test_a_damaged_phase_is_refused(planned, tmp_path, phases):
    content = torch.load(planned[1] / 'epoch_2.pth', weights_only=True)
    content['meta']['phases'] = phases
    torch.save(content, tmp_path / 'damaged.pth')
    with pytest.raises(InputError, match='phase'):
        load_trained(None, tmp_path / 'damaged.pth')


def test_a_run_that_starts_from_it_has_the_phases_of_its_own_config(planned, run_tool, tiny_config, tmp_path):
    options = ('--cfg-options', f'load_from={planned[1]}/epoch_2.pth', 'stages.float.train_cfg.max_epochs=1')
    assert run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--stage', 'float', *options).status == 0
    assert 'phases' not in trained_config(None, tmp_path / 'float' / 'epoch_1.pth')


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ([], None),
        (['model.backbone.strides=[1,2,2,1]'], 'layer4.0.conv1.stride = (2, 2), and the model has (1, 1)'),
    ],
    ids=['same', 'strides'],
)
def test_weights_to_start_from_are_held_against_the_first_phase(planned, run_tool, tmp_path, changed, words):
    config, folder = planned
    options = ('--cfg-options', f'load_from={folder}/epoch_1.pth', 'train_cfg.max_epochs=1', *changed)
    ended = run_tool('train.py', config, '--work-dir', tmp_path, *options)
    assert ended.status == 0, ended.err
    (line,) = (line for line in ended.out.splitlines() if f'{folder}/epoch_1.pth: 122 of' in line)
    assert ('WARNING' in line) == ('the weights were trained' in line) == (words is not None)
    assert words is None or words in line
