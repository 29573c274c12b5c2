"""Two processes, as torchrun starts them, train what one process trains."""

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.warm import Ended

PROBED = """
_base_ = {tiny!r}
custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)
custom_hooks = [*_base_.custom_hooks, dict(type='WeightsProbe')]
train_dataloader = dict(dataset=dict(subset=128))
stages = {{name: dict(train_cfg=dict(max_epochs=1)) for name in _base_.stages}}
"""
# Two processes with batches of 32 each are one with 64.
TWO = ('--cfg-options', 'train_dataloader.batch_size=32')


@pytest.fixture(scope='module')
def two_processes(as_run, tiny_config, tmp_path_factory):
    """The whole recipe in two processes of torchrun."""
    folder = tmp_path_factory.mktemp('processes')
    config = folder / 'probed.py'
    config.write_text(PROBED.format(tiny=str(tiny_config)))
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', 'tools/train.py']
    command += [str(config), '--work-dir', str(folder / 'run'), *TWO, '--launcher', 'pytorch']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=environment, timeout=300)
    return as_run(folder / 'run', Ended(done.returncode, done.stdout, done.stderr))


@pytest.mark.parametrize('stage', ['float', 'binary', 'bn'])
@pytest.mark.slow
def test_ranks_end_with_identical_weights_and_statistics(two_processes, stage):
    paths = [two_processes.folder / stage / f'last_{rank}.pth' for rank in (0, 1)]
    first, second = (torch.load(path, weights_only=True) for path in paths)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.slow
def test_table_is_printed_once(two_processes):
    assert two_processes.ended.out.count('\nname ') == 1


@pytest.mark.slow
def test_without_batch_statistics_two_processes_compute_what_one_does(
    run_tool, start_ranks, as_run, tiny_config_with, tmp_path
):
    """BatchNorm by its running statistics and no dropout: the mean of the halves' gradients is the whole batch's."""
    config = tiny_config_with(
        'model = dict(backbone=dict(norm_eval=True), drop_rate=0.0)\n'
        'stages = dict(float=dict(train_cfg=dict(max_epochs=1), optim_wrapper=dict(optimizer=dict(lr=1e-3))))'
    )
    arguments = ('train.py', config, '--stage', 'float', '--work-dir')
    one = as_run(tmp_path / 'one', run_tool(*arguments, tmp_path / 'one'))
    ranks = start_ranks(*arguments, tmp_path / 'two', *TWO)
    two, _ = [as_run(tmp_path / 'two', rank.ended()) for rank in ranks]
    torch.testing.assert_close(two.weights('float'), one.weights('float'), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_precise_statistics_of_two_processes_are_those_of_one(
    run_tool, start_ranks, as_run, tiny_config_with, tmp_path
):
    """Those of the first norm; what deeper ones get was normalised by batches of half the size."""
    config = tiny_config_with(
        "custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='WeightsProbe'), dict(type='PreciseBNHook')]\n"
        'stages = dict(float=dict(train_cfg=dict(max_epochs=1), optim_wrapper=dict(optimizer=dict(lr=0.0))))'
    )
    arguments = ('train.py', config, '--stage', 'float', '--work-dir')
    one = as_run(tmp_path / 'one', run_tool(*arguments, tmp_path / 'one')).weights('float')
    assert [rank.ended().status for rank in start_ranks(*arguments, tmp_path / 'two', *TWO)] == [0, 0]
    ranks = [torch.load(tmp_path / 'two' / 'float' / f'last_{rank}.pth', weights_only=True) for rank in (0, 1)]
    assert [name for name in ranks[0] if not torch.equal(ranks[0][name], ranks[1][name])] == []
    for name in ('backbone.bn1.running_mean', 'backbone.bn1.running_var'):
        torch.testing.assert_close(ranks[0][name], one[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_process_that_is_stopped_is_told_by_the_others_in_time(start_ranks, tiny_config_with, tmp_path):
    config = tiny_config_with(
        "custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='StopRank', rank=1)]"
    )
    limit = ('--cfg-options', 'env_cfg.dist_cfg.timeout=20')
    ranks = start_ranks('train.py', config, '--work-dir', tmp_path / 'run', '--stage', 'float', *limit)
    try:
        first = ranks[0].ended(limit=240)
    finally:
        for rank in ranks:
            rank.process.kill()
    assert first.status == 1
    (sentence,) = [line for line in first.err.splitlines() if line.startswith('error: ')]
    assert 'another process of this run does not answer' in sentence
    assert '--resume' in sentence
    assert 'Traceback' not in first.err
