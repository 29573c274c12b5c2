"""Checkpoints as other trainers save them, with their arguments and logs beside the weights."""

import argparse
import collections
import datetime
import os
import subprocess
import types
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from timm.utils import CheckpointSaver
from torch.optim.swa_utils import AveragedModel

import bireal_plugin
from bireal_plugin import BiRealResNet, InputError
from bireal_plugin.checkpoints import file
from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.checkpoints.loading import fetch_checkpoint, load_weights

ARGUMENTS = argparse.Namespace(model='bireal_resnet18', lr=np.float64(0.1), output=Path('/out'), resume=None, amp=True)


def timms(folder, model):
    """By the saver of timm's train.py."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    saver = CheckpointSaver(model, optimizer, args=ARGUMENTS, checkpoint_dir=str(folder), recovery_dir=str(folder))
    saver.save_checkpoint(3, metric=np.float64(71.5))
    return folder / 'model_best.pth.tar'


def torchvisions(folder, model):
    """What torchvision's references/classification/train.py saves."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    content = dict(model=model.state_dict(), optimizer=optimizer.state_dict(), lr_scheduler=scheduler.state_dict())
    torch.save({**content, 'epoch': 3, 'args': ARGUMENTS}, folder / 'model_3.pth')
    return folder / 'model_3.pth'


def openmmlabs(folder, model):
    """What mmengine's own Runner saves."""
    hub = MessageHub.get_instance('test_trainers')
    hub.update_scalar('train/loss', 0.5)
    hub.update_info('best', np.float32(71.5))
    meta = dict(cfg=ConfigDict(model=dict(type='ResNet')), time=datetime.datetime.now(), seed=np.int64(3))
    torch.save(dict(state_dict=model.state_dict(), meta=meta, message_hub=hub.state_dict()), folder / 'epoch_3.pth')
    return folder / 'epoch_3.pth'


SAVERS = [timms, torchvisions, openmmlabs]


def trained():
    torch.manual_seed(0)
    return timm.create_model('bireal_resnet18', base_channels=4, in_chans=1, stem='cifar', num_classes=10)


@pytest.mark.parametrize('save', SAVERS)
def test_the_weights_load_and_the_numbers_beside_them(tmp_path, save):
    model = trained()
    content = fetch_checkpoint(str(save(tmp_path, model)))
    other = timm.create_model('bireal_resnet18', base_channels=4, in_chans=1, stem='cifar', num_classes=10)
    assert load_weights(other, state_dict_of(content, 'f'), source='f', strict=True).complete
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert content.get('epoch', 3) == 3
    assert 'args' not in content


@pytest.mark.parametrize('save', SAVERS)
def test_every_way_in_takes_them(tmp_path, save, run_tool, tiny_config, tiny_config_with):
    model = trained()
    path = save(tmp_path, model)
    ended = run_tool('convert_checkpoint.py', path, tmp_path / 'converted.safetensors')
    assert ended.status == 0, ended.err
    loaded, _ = bireal_plugin.load_trained(tiny_config, path, stage='binary')
    assert torch.equal(loaded.backbone.layer4[3].conv1.weight, model.layer4[3].conv1.weight)
    ended = run_tool('test.py', tiny_config, path, '--stage', 'binary', '--work-dir', tmp_path / 'test')
    assert ended.status == 0, ended.err
    config = tiny_config_with(f'stages = dict(float=dict(load_from={str(path)!r}, train_cfg=dict(max_epochs=1)))')
    ended = run_tool('train.py', config, '--stage', 'float', '--work-dir', tmp_path / 'train')
    assert (ended.status, ended.err) == (0, ''), ended.err
    assert "122 of the model's 122 tensors loaded" in next((tmp_path / 'train').rglob('*.log')).read_text()


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(
    'beside',
    [
        ARGUMENTS,
        types.SimpleNamespace(a=1),
        np.arange(3),
        np.array(['a']),
        [ARGUMENTS],
        collections.defaultdict(list, a=[1]),
        Config(dict(a=dict(b=1))),
        datetime.timezone,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_stands_beside_the_weights_is_read_as_plain_values_or_not_at_all(tmp_path, beside, legacy):
    content = dict(state_dict=dict(w=torch.ones(2)), beside=beside, epoch=3)
    torch.save(content, tmp_path / 'c.pth', _use_new_zipfile_serialization=not legacy)
    if isinstance(beside, type):
        with pytest.raises(InputError, match=r'holds objects \(datetime\.timezone\)'):
            read_checkpoint(tmp_path / 'c.pth')
        return
    read = read_checkpoint(tmp_path / 'c.pth')
    assert read['epoch'] == 3
    assert torch.equal(read['state_dict']['w'], torch.ones(2))
    assert read.get('beside', beside) == beside if isinstance(beside, dict) else 'beside' not in read


class Call:
    """Pickles into a call."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize('wrap', [lambda call: call, lambda call: argparse.Namespace(a=[call])], ids=['bare', 'inside'])
@pytest.mark.parametrize('way', ['system', 'eval', 'touch', 'open', 'run', 'getattr'])
def test_code_is_refused_and_not_run(tmp_path, way, wrap):
    touched = tmp_path / 'touched'
    call = {
        'system': Call(os.system, f'touch {touched}'),
        'eval': Call(eval, f"open({str(touched)!r}, 'w')"),
        'touch': Call(Path.touch, touched),
        'open': Call(open, str(touched), 'w'),
        'run': Call(subprocess.run, ['touch', str(touched)]),
        'getattr': Call(getattr, Path(touched), 'touch'),
    }[way]
    torch.save(dict(state_dict=dict(w=torch.ones(1)), extra=wrap(call)), tmp_path / 'c.pth')
    if way == 'getattr':  # nothing of it is called: what stands for the path has no method
        assert list(read_checkpoint(tmp_path / 'c.pth')) == ['state_dict']
    else:
        with pytest.raises(InputError, match='could run any code'):
            read_checkpoint(tmp_path / 'c.pth')
    assert not touched.exists()


def test_a_partial_fit_below_half_needs_to_be_allowed():
    """1 of the 314 tensors of a MobileNet has a name and a shape of ours: a counter."""
    state = timm.create_model('mobilenetv2_100').state_dict()
    net = BiRealResNet(18)
    state['bn1.num_batches_tracked'] += 3
    sentence = r"1 of the model's 120 tensors loaded; .*less than half of the model and of the file fits"
    with pytest.raises(InputError, match=sentence):
        load_weights(net, state, source='mobilenet.pth', strict=False)
    assert net.bn1.num_batches_tracked == 0
    assert len(load_weights(net, state, source='f', strict=False, allow_partial=True).loaded) == 1
    assert net.bn1.num_batches_tracked == 3


def test_a_backbone_in_a_large_detector_and_a_small_part_of_ours_are_no_partial_fit():
    net = BiRealResNet(18, base_channels=4)
    backbone = net.state_dict()
    detector = {**backbone, **{f'neck.{i}.weight': torch.ones(1) for i in range(500)}}
    assert len(load_weights(net, detector, source='f', strict=False).loaded) == 120
    stem = {name: value for name, value in backbone.items() if name.startswith(('conv1', 'bn1'))}
    assert len(load_weights(net, stem, source='f', strict=False).loaded) == 6


WRAPPED = dict(
    ddp=lambda name: f'module.{name}',
    ddp_of_average=lambda name: f'module.module.{name}',
    compiled=lambda name: f'_orig_mod.{name}',
    ddp_of_compiled=lambda name: f'module._orig_mod.{name}',
    compiled_ddp=lambda name: f'_orig_mod.module.{name}',
    compiled_stage=lambda name: name.replace('layer1.', 'layer1._orig_mod.'),
    fsdp=lambda name: f'_fsdp_wrapped_module.{name}'.replace('layer2.', 'layer2._fsdp_wrapped_module.'),
    checkpointed=lambda name: name.replace('layer3.0.', 'layer3.0._checkpoint_wrapped_module.'),
)


@pytest.mark.parametrize('wrapped', WRAPPED.values(), ids=WRAPPED)
def test_names_lose_what_was_wrapped_around_the_modules(wrapped):
    weights = BiRealResNet(18, base_channels=4).state_dict()
    state = state_dict_of({wrapped(name): value for name, value in weights.items()}, 'c.pth')
    assert {name: id(value) for name, value in state.items()} == {name: id(value) for name, value in weights.items()}


def test_one_tensor_twice_behind_its_wrappers_is_told():
    with pytest.raises(InputError, match=r'c\.pth: fc\.weight and module\.fc\.weight are one name without'):
        state_dict_of({'fc.weight': torch.ones(2, 2), 'module.fc.weight': torch.zeros(2, 2)}, 'c.pth')


def test_averages_load_and_their_counter_is_left_out():
    net = BiRealResNet(18, base_channels=4)
    state = state_dict_of(dict(model_ema=AveragedModel(net).state_dict(), epoch=3), 'c.pth')
    report = load_weights(BiRealResNet(18, base_channels=4), state, source='c.pth', strict=True)
    assert (len(report.loaded), list(report.naming.dropped)) == (120, ['n_averaged'])


@pytest.mark.parametrize('entry', ['net', 'model_state_dict', 'student', 'state_dict_ema'])
def test_the_only_entry_that_holds_weights_is_taken(entry):
    """Beside a best accuracy as a tensor and the state of a random generator, which are none."""
    weights = dict(w=torch.ones(2, 2), b=torch.ones(2))
    beside = dict(acc=torch.tensor(91.0), rng=dict(cpu=torch.get_rng_state()), optimizer=dict(state={0: {}}))
    assert state_dict_of({**beside, entry: weights}, 'c.pth') == weights
    other = 'model_ema' if entry == 'state_dict_ema' else 'teacher'
    with pytest.raises(InputError, match=f'several sets of weights, {entry} and {other}: save one of them alone'):
        state_dict_of({**beside, entry: weights, other: weights}, 'c.pth')


@pytest.mark.parametrize('save', ['jit', 'export'])
def test_a_program_is_told(tmp_path, save):
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    if save == 'jit':
        torch.jit.trace(layer, x).save(tmp_path / 'c.pth')
    else:
        torch.export.save(torch.export.export(layer, (x,)), tmp_path / 'c.pt2')
    (path,) = tmp_path.iterdir()
    with pytest.raises(InputError, match=r'is a program of torch\.jit or torch\.export'):
        read_checkpoint(path)


@pytest.mark.parametrize('name', ['state_dict_ema', 'model_ema', 'ema_state_dict'])
def test_a_second_set_of_weights_is_told(monkeypatch, name):
    told = []
    monkeypatch.setattr(file, 'print_log', lambda text, **options: told.append(text))
    weights = dict(w=torch.ones(1))
    state = state_dict_of({'state_dict': weights, name: dict(w=torch.zeros(1))}, 'c.pth')
    assert torch.equal(state['w'], weights['w'])
    assert told == [f'c.pth holds a second set of weights, {name}; state_dict is taken']
    state_dict_of(dict(state_dict=weights), 'c.pth')
    assert len(told) == 1
