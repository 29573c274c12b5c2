"""Reading a config and its overrides; starting one of several processes on a machine without GPU."""

import os
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

from bireal_plugin import InputError
from bireal_plugin.training import config as config_module
from bireal_plugin.training import runner as runner_module
from bireal_plugin.training.config import (
    ENVIRONMENT,
    config_mistakes,
    load_config,
    prepare_launch,
    use_amp,
    work_dir_of,
)
from bireal_plugin.training.optimizer import AmpOptimWrapper
from bireal_plugin.training.recipe import stage_config
from bireal_plugin.training.runner import BiRealRunner

DIGITS, IMAGENET = 'configs/bireal_r18_digits.py', 'configs/bireal_r50_imagenet.py'


def test_one_data_root_reaches_every_dataset_of_every_stage():
    config = load_config(IMAGENET, dict(data_root='/data/imagenet'))
    roots = {
        (name, key): stage_config(config, name)[f'{key}_dataloader'].dataset.root
        for name in config.stages
        for key in ('train', 'val', 'test')
    }
    assert roots == dict.fromkeys(roots, '/data/imagenet')


def test_dataset_with_its_own_root_keeps_it():
    options = {'data_root': '/data/imagenet', 'val_dataloader.dataset.root': '/ssd/val'}
    config = load_config(IMAGENET, options)
    assert (config.train_dataloader.dataset.root, config.val_dataloader.dataset.root) == ('/data/imagenet', '/ssd/val')


@pytest.mark.parametrize('name', ['bireal_r18_street', 'depth/bireal_r18_street', 'bireal_r18_street.py'])
def test_config_is_found_by_name_from_any_folder(name, tmp_path, monkeypatch):
    wanted = load_config('configs/depth/bireal_r18_street.py').to_dict()
    monkeypatch.chdir(tmp_path)
    assert load_config(name).to_dict() == wanted


def test_file_wins_over_a_name(tmp_path, monkeypatch):
    (tmp_path / 'bireal_r18_digits.py').write_text('data_root = "here"')
    monkeypatch.chdir(tmp_path)
    assert load_config('bireal_r18_digits.py').data_root == 'here'


def test_unknown_config_lists_near_names():
    with pytest.raises(InputError, match=r'birael_r18_digit does not exist; by name there are bireal_r18_digits, '):
        load_config('birael_r18_digit')


def test_no_two_configs_share_a_name():
    stems = [file.stem for file in Path('configs').rglob('*.py') if '_base_' not in file.parts]
    assert len(stems) == len(set(stems))


def test_override_reaches_one_stage():
    config = load_config(DIGITS, {'stages.binary.train_cfg.max_epochs': 99})
    epochs = {name: stage_config(config, name).train_cfg.max_epochs for name in config.stages}
    assert epochs == dict(float=6, leaky_clip=2, clip=4, binary=99, bn=1)


@pytest.mark.parametrize(
    ('path', 'sentence'),
    [
        ('modle.backbone.depth', "there is no 'modle' here; there are: .*model"),
        ('max_epochs', "there is no 'max_epochs' here"),
        ('stages.flaot.train_cfg.max_epochs', 'the stages are: float, leaky_clip, clip, binary, bn'),
        ('model.type.depth', 'cannot inherit from base'),
        ('custom_hooks.17.interval', 'Index 17 exceeds the length of list'),
    ],
)
def test_override_of_something_that_is_not_there_is_refused(path, sentence):
    with pytest.raises(InputError, match=f'{DIGITS}: .*{sentence}'):
        load_config(DIGITS, {path: 1})


@pytest.mark.parametrize('key', ['load_from', 'auto_scale_lr.base_batch_size', 'find_unused_parameters'])
def test_what_a_runner_reads_may_be_added(key):
    assert load_config(DIGITS, {key: 8}).get(key.partition('.')[0]) in (8, dict(base_batch_size=8))


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('model = dict(', 'was never closed'),
        ('model = dict(depth=deph)', "name 'deph' is not defined"),
        ("_base_ = 'absent.py'", 'absent.py'),
        ("custom_imports = dict(imports=['absent_module'])", 'Failed to import absent_module'),
    ],
    ids=['syntax', 'name', 'base', 'import'],
)
def test_config_that_cannot_be_read_is_named_with_the_reason(tmp_path, text, sentence):
    path = tmp_path / 'broken.py'
    path.write_text(text)
    with pytest.raises(InputError, match=rf'{path}: .*{sentence}'):
        load_config(str(path))


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ("model: !!python/object/apply:os.system ['touch {ran}']", 'no YAML of plain values'),
        ('model: !!python/name:os.system', 'no YAML of plain values'),
        ('a: [1, ]]', 'no YAML of plain values'),
        ('a: &a [x, x, x, x, x, x, x, x, x, x]\n' + ''.join(
            f'{each}: &{each} [{", ".join([f"*{before}"] * 10)}]\n' for before, each in pairwise('abcdefghij')
        ), 'its aliases .* make more than 100000 values'),
        ('a: &a [*a]', 'its aliases .* make more than 100000 values'),
    ],
    ids=['call', 'name', 'syntax', 'laughs', 'recursive'],
)  # fmt: skip
def test_yaml_is_plain_values(tmp_path, text, sentence):
    path = tmp_path / 'config.yaml'
    path.write_text(text.replace('{ran}', str(tmp_path / 'ran')))
    for each in (path, tmp_path / 'upon.yml'):
        (tmp_path / 'upon.yml').write_text('_base_: config.yaml\n')
        with pytest.raises(InputError, match=f'{each}: .*{sentence}'):
            load_config(str(each))
    assert not (tmp_path / 'ran').exists()


def test_yaml_and_its_base_are_read(tmp_path):
    (tmp_path / 'base.yml').write_text('model: &model {type: BiRealResNet, depth: 18}\nteacher: *model\n')
    (tmp_path / 'config.yaml').write_text('_base_: base.yml\nmodel: {depth: 34}\n')
    config = load_config(str(tmp_path / 'config.yaml'))
    assert (config.model.depth, config.teacher.depth, config.model.type) == (34, 18, 'BiRealResNet')


def test_missing_config_is_named():
    with pytest.raises(InputError, match=r'config configs/absent\.py does not exist'):
        load_config('configs/absent.py')


@pytest.mark.parametrize(
    ('given', 'configured', 'expected'),
    [('here', 'there', 'here'), (None, 'there', 'there'), (None, None, 'work_dirs/bireal_r18_digits')],
)
def test_work_dir_is_the_flag_else_the_configs_else_its_name(given, configured, expected):
    config = Config.fromfile(DIGITS)
    if configured:
        config.work_dir = configured
    assert work_dir_of(config, given) == expected


def test_amp_reaches_every_stage_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    config = load_config(DIGITS)
    use_amp(config)
    types = {name: stage_config(config, name).optim_wrapper.type for name in config.stages}
    assert types == dict.fromkeys(types, 'AmpOptimWrapper')


@pytest.mark.parametrize(
    'named',
    ["'mmengine.optim.AmpOptimWrapper'", "'AmpOptimWrapper'", 'AmpOptimWrapper'],
    ids=['by import', 'by name', 'as a class'],
)
def test_amp_is_ours_however_a_config_names_it(tmp_path, named):
    """mmengine's refuses a CPU; a class in a config goes past the registry."""
    imported = '' if named.startswith("'") else 'from mmengine.optim import AmpOptimWrapper\n'
    optim = f'dict(type={named}, optimizer=dict(type="SGD", lr=0.1))'
    content = f'{imported}optim_wrapper = {optim}\nstages = dict(one=dict(optim_wrapper={optim}))\n'
    (tmp_path / 'amp.py').write_text(content)
    config = load_config(str(tmp_path / 'amp.py'))
    for part in (config, config.stages.one):
        assert type(build_optim_wrapper(nn.Linear(1, 1), part.optim_wrapper)) is AmpOptimWrapper


class Reads:
    """Asks several kinds of dictionaries for a key that they lack."""

    def __init__(self, content):
        self.content = content

    def subscript(self):
        return self.content['lr']

    def nested(self):
        return [self.content[key] for key in ('lr',)]

    def popped(self):
        return dict(self.content).pop('lr')


@pytest.mark.parametrize(
    'content', [{}, Config(dict(a=1)), Config(dict(a=dict(b=1))).a], ids=['dict', 'Config', 'entry']
)
@pytest.mark.parametrize('method', ['subscript', 'popped', 'nested'])
def test_a_missing_key_is_said_to_be_missing_and_where(content, method):
    if method == 'popped' and isinstance(content, Config):
        content = content.to_dict()
    sentence = rf"^my\.py: 'lr' is missing: .*{__name__} looks it up$"
    with pytest.raises(InputError, match=sentence), config_mistakes('my.py'):
        getattr(Reads(content), method)()


def test_a_key_error_with_a_sentence_keeps_it():
    with pytest.raises(InputError, match=r'^my\.py: X is not in the registry$'), config_mistakes('my.py'):
        raise KeyError('X is not in the registry\nand more')


@pytest.mark.parametrize(
    ('tensorboard', 'installed', 'added', 'words'),
    [
        (True, True, True, 'curves are written for TensorBoard too'),
        (True, False, False, 'the package is not installed'),
        (False, True, False, None),
    ],
)
def test_tensorboard_is_switched_on_by_the_config(monkeypatch, tensorboard, installed, added, words):
    said, taken = [], []
    monkeypatch.setattr(runner_module, 'find_spec', lambda name: object() if installed else None)
    monkeypatch.setattr(Runner, 'build_visualizer', lambda self, visualizer: taken.append(visualizer))
    runner = BiRealRunner.__new__(BiRealRunner)
    runner.cfg = load_config(DIGITS, dict(tensorboard=tensorboard))
    monkeypatch.setattr(BiRealRunner, 'logger', SimpleNamespace(info=said.append), raising=False)
    runner.build_visualizer(runner.cfg.visualizer.to_dict())
    types = [backend['type'] for backend in taken[0]['vis_backends']]
    assert types == ['LocalVisBackend', 'TensorboardVisBackend'][: 1 + added]
    assert len(said) == (words is not None)
    assert all(words in sentence for sentence in said)


@pytest.fixture
def started(monkeypatch):
    """The backends of the process groups that were asked for; none is really started."""
    backends = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(
        torch.distributed, 'init_process_group', lambda *how, **options: backends.append((*how, options))
    )
    monkeypatch.setattr(os, 'environ', os.environ.copy())
    return backends


@pytest.mark.parametrize('launcher', list(ENVIRONMENT))
def test_ranks_come_from_the_launchers_variables(started, launcher):
    values = dict(RANK='3', WORLD_SIZE='4', LOCAL_RANK='1')
    os.environ.update({source: values[name] for name, source in ENVIRONMENT[launcher].items()})
    prepare_launch(Config(), launcher)
    assert started == [('gloo', dict(timeout=timedelta(seconds=600)))]
    assert {name: os.environ[name] for name in values} == values


def test_processes_with_gpus_meet_before_they_touch_a_folder(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.multiprocessing, 'get_start_method', lambda allow_none: 'fork')
    monkeypatch.setattr(config_module, 'init_dist', lambda launcher, **options: asked.append((launcher, options)))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '0')
    prepare_launch(Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=60)))), 'pytorch')
    assert asked == [('pytorch', dict(backend='nccl', timeout=60))]


def test_one_process_starts_no_group(started):
    prepare_launch(Config(), 'none')
    assert started == []


@pytest.mark.parametrize(
    ('config', 'unused'),
    [({}, False), (dict(find_unused_parameters=True), True), (dict(model_wrapper_cfg=dict(static_graph=True)), False)],
)
def test_wrapper_keeps_what_the_config_says(started, config, unused):
    os.environ.update(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0')
    config = Config(config)
    asked = config.get('model_wrapper_cfg', {})
    prepare_launch(config, 'pytorch')
    expected = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False, **asked)
    assert config.model_wrapper_cfg == {**expected, 'find_unused_parameters': unused}
