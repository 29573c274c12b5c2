"""Recipes that count iterations instead of epochs."""

import multiprocessing

import pytest
import torch

ITERATIONS = """
model = dict(drop_rate=0.0)
train_cfg = dict(by_epoch=False, max_iters=20, val_interval=10)
param_scheduler = dict(by_epoch=False, milestones=[15])
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10))
log_processor = dict(by_epoch=False)
stages = dict(
    _delete_=True,
    clip=dict(model=dict(backbone=dict(activation='clip', weights='real'))),
    binary=dict(model=dict(backbone=dict(activation='sign', weights='binary'))),
)
"""
# In the middle of the second pass over the 7 batches, two iterations behind a checkpoint.
STOP = """
custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='StopOnce', stage='binary', epoch=0, iteration=11, marker={marker!r}),
]
"""


@pytest.fixture(scope='module')
def config(tiny_config, tmp_path_factory):
    path = tmp_path_factory.mktemp('iterations') / 'iterations.py'
    path.write_text(f'_base_ = {str(tiny_config)!r}\n{ITERATIONS}')
    return path


@pytest.fixture(scope='module')
def uninterrupted(run_tool, as_run, config):
    folder = config.parent / 'uninterrupted'
    return as_run(folder, run_tool('train.py', config, '--work-dir', folder))


def test_stages_report_iterations_and_metrics(uninterrupted):
    rows = uninterrupted.results
    assert [(row['name'], row['iterations'], row['checkpoint']) for row in rows] == [
        ('clip', 20, 'clip/iter_20.pth'),
        ('binary', 20, 'binary/iter_20.pth'),
    ]
    assert all('epochs' not in row and 0 <= row['top1'] <= 100 for row in rows)


def test_the_learning_rate_falls_at_its_iteration(uninterrupted):
    curves = uninterrupted.checkpoint('binary')['message_hub']['curves']
    rates = curves['train/lr']['values'].tolist()
    assert rates == pytest.approx([0.01] * 15 + [0.001] * 5)


def test_a_run_stopped_between_two_checkpoints_resumes_to_the_same_weights(
    run_tool, as_run, config, uninterrupted, tmp_path
):
    marker = tmp_path / 'stopped'
    stopping = tmp_path / 'stopping.py'
    stopping.write_text(f'_base_ = {str(config)!r}\n{STOP.format(marker=str(marker))}')
    arguments = ('train.py', stopping, '--work-dir', tmp_path / 'run')
    assert run_tool(*arguments).status == 130
    resumed = as_run(tmp_path / 'run', run_tool(*arguments, '--resume'))
    expected = uninterrupted.weights('binary')
    assert all(torch.equal(value, expected[name]) for name, value in resumed.weights('binary').items())
    assert [row['top1'] for row in resumed.results] == [row['top1'] for row in uninterrupted.results]


def test_the_process_of_an_endless_loader_ends_with_the_training(run_tool, config, tmp_path):
    options = ('--cfg-options', 'train_cfg.max_iters=4', 'train_dataloader.num_workers=1')
    assert run_tool('train.py', config, '--work-dir', tmp_path / 'run', '--stage', 'clip', *options).status == 0
    assert multiprocessing.active_children() == []


def test_no_iteration_is_refused_before_training(run_tool, config, tmp_path):
    options = ('--cfg-options', 'train_cfg.max_iters=0')
    ended = run_tool('train.py', config, '--work-dir', tmp_path / 'run', *options)
    assert ended.status != 0
    assert 'max_iters must be 1 or more' in ended.err
    assert not (tmp_path / 'run').exists()
