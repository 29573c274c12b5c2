"""Entries of the zoo: each tells what its run did, can be trained again by its command, and names no machine."""

import json
import re
import shlex

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

import bireal_plugin
from bireal_plugin.commands.arguments import Overrides
from bireal_plugin.data.digits import Digits
from bireal_plugin.export.packed.config import plain_config
from bireal_plugin.training.config import load_config
from bireal_plugin.zoo import CONFIG, FOLDER, LOG, TRAINING, WEIGHTS, ZOO, config_of, log_of, names, table
from tests.conftest import REPOSITORY

NAMES = names()
PLACE = re.compile(r'"/|/(?:work|tmp|home|root|mnt|usr)\b|localhost')


def header(path):
    with safe_open(path, framework='pt') as file:
        return file.metadata()


@pytest.mark.parametrize('name', NAMES)
def test_no_file_tells_where_it_was_made(name):
    files = {path.name for path in (FOLDER / name).iterdir()}
    assert files - {TRAINING} == {WEIGHTS, CONFIG, LOG}
    texts = [(FOLDER / name / file).read_text() for file in (CONFIG, LOG)]
    texts += [json.dumps(header(FOLDER / name / file)) for file in files if file.endswith('.safetensors')]
    assert [PLACE.findall(text.replace('\\"', '"')) for text in texts] == [[]] * len(texts)


@pytest.mark.parametrize('name', NAMES)
def test_the_command_is_that_of_the_config(name):
    program, verb, config, *words = shlex.split(log_of(name)['command'])
    assert (program, verb, config) == ('bireal', 'train', name)
    given = dict(cfg_options=None)
    if words:
        Overrides(['--cfg-options'], 'cfg_options', nargs='+')(
            None, space := type('Space', (), {})(), words[1:], words[0]
        )
        given = dict(cfg_options=space.cfg_options)
    root = (given['cfg_options'] or {}).pop('data_root', None)
    assert root in (None, 'PATH')
    assert plain_config(load_config(name, given['cfg_options'] or {}).to_dict()) == config_of(name)


@pytest.mark.parametrize('name', NAMES)
def test_the_result_is_that_of_the_last_stage(name):
    log = log_of(name)
    last = log['stages'][-1]
    ((key, value),) = log['result'].items()
    assert value == pytest.approx(last[key] if key == 'top1' else 100 * last['depth/delta1'])
    assert log['bytes'] == (FOLDER / name / WEIGHTS).stat().st_size
    assert log['verified']['layer_error'] < 1e-5
    assert [stage['name'] for stage in log['stages']] == [*config_of(name)['stages']]


@pytest.mark.parametrize('name', NAMES)
def test_the_metafile_has_its_line(name):
    folder = next(file.parent for file in (REPOSITORY / 'configs').rglob(f'{name}.py'))
    models = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    model = next(model for model in models if model['Name'] == name)
    assert model['Weights'] == ZOO + name
    ((_, value),) = log_of(name)['result'].items()
    metrics = model['Results'][0]['Metrics']
    assert metrics.get('Top 1 Accuracy', metrics.get('delta1')) == pytest.approx(value, abs=0.006)


def test_the_page_shows_the_table():
    assert f'```text\n{table()}\n```' in (REPOSITORY / 'docs' / 'zoo.md').read_text()


def test_all_together_are_small():
    sizes = {path: path.stat().st_size for path in FOLDER.rglob('*') if path.is_file()}
    assert sum(sizes.values()) < 9.5e6


@torch.no_grad()
def test_the_digits_network_is_as_accurate_as_its_log_says():
    model = bireal_plugin.load(f'{ZOO}bireal_r18_digits')
    dataset = load_config('bireal_r18_digits').test_dataloader.dataset
    images = Digits(split='test', size=dataset['size'])
    inputs = torch.stack([images[i]['inputs'] for i in range(len(images))]).float()
    right = model((inputs - 78) / 96).argmax(1).numpy() == np.array(images.targets)
    assert len(images) == 360
    # A sum in another order may flip a sign and the class of an image with it.
    assert 100 * right.mean() == pytest.approx(log_of('bireal_r18_digits')['result']['top1'], abs=100.1 / 360)


SHORT = [
    'model.backbone.base_channels=4',
    'train_dataloader.dataset.subset=200',
    'val_dataloader.dataset.subset=40',
    'test_dataloader.dataset.subset=40',
    *(f'stages.{stage}.train_cfg.max_epochs=1' for stage in ('float', 'leaky_clip', 'clip', 'binary')),
]


@pytest.mark.slow
def test_an_entry_is_read_from_a_work_directory_alone(run_command, tmp_path):
    work_dir = tmp_path / 'run'
    ended = run_command('train', 'bireal_r18_digits', '--work-dir', work_dir, '--cfg-options', *SHORT)
    assert ended.status == 0, ended.err
    ended = run_command('zoo', '--add', work_dir, '--training', 'binary', '--out', tmp_path)
    assert ended.status == 0, ended.err
    folder = tmp_path / 'bireal_r18_digits'
    log = json.loads((folder / LOG).read_text())
    command, options = log['command'].split(' --cfg-options ')
    assert (command, sorted(options.split())) == ('bireal train bireal_r18_digits', sorted(SHORT))
    rows = json.loads((work_dir / 'results.json').read_text())['stages']
    assert log['result']['top1'] == rows[-1]['top1']
    assert log['training']['stage'] == 'binary'
    assert log['training']['top1'] == pytest.approx(
        next(row for row in rows if row['name'] == 'binary')['top1'], abs=2.6
    )
    stored, trained = (
        bireal_plugin.load_trained(None, path)[0].state_dict()
        for path in (folder / TRAINING, work_dir / 'binary/epoch_1.pth')
    )
    for key, value in trained.items():
        rounded = value.bfloat16().to(value.dtype) if re.search(r'layer\d\.\d\.conv1\.weight', key) else value
        assert torch.equal(stored[key], rounded), key
    assert not PLACE.search(json.dumps(header(folder / TRAINING)).replace('\\"', '"'))


def test_a_run_that_has_not_ended_is_no_entry(run_command, tmp_path):
    ended = run_command('zoo', '--add', tmp_path, '--out', tmp_path)
    assert (ended.status, ended.err) == (1, f'error: {tmp_path} holds no recipe that has ended: no stage alone has\n')
