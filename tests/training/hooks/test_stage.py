"""The small hooks, called as mmengine's Runner calls them."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from bireal_plugin import InputError
from bireal_plugin.training import DivergenceHook, EpochSeedHook, StageRecordHook, ThroughputHook
from bireal_plugin.training.hooks import stage


def drawn(monkeypatch, *, seed, epoch, rank):
    """What torch draws in an epoch."""
    monkeypatch.setattr(stage, 'get_rank', lambda: rank)
    EpochSeedHook().before_train_epoch(SimpleNamespace(seed=seed, epoch=epoch))
    return tuple(torch.rand(4).tolist())


def test_random_numbers_of_an_epoch_do_not_depend_on_what_was_drawn_before(monkeypatch):
    first = drawn(monkeypatch, seed=3, epoch=2, rank=1)
    torch.rand(17)
    assert drawn(monkeypatch, seed=3, epoch=2, rank=1) == first


def test_seeds_epochs_and_ranks_draw_different_numbers(monkeypatch):
    cases = list(itertools.product(range(4), range(4), range(4)))
    draws = {drawn(monkeypatch, seed=seed, epoch=epoch, rank=rank) for seed, epoch, rank in cases}
    assert len(draws) == len(cases)


def test_largest_seed_is_accepted(monkeypatch):
    drawn(monkeypatch, seed=2**31 - 1, epoch=1000, rank=1000)
    assert torch.initial_seed() == ((2**31 - 1) * 1_000_003 + 1000) * 4_099 + 1000


def test_throughput_counts_the_images_of_all_processes(monkeypatch):
    times = iter([10.0, 10.5, 12.5])
    monkeypatch.setattr(stage.time, 'perf_counter', lambda: next(times))
    monkeypatch.setattr(stage, 'get_world_size', lambda: 4)
    runner = SimpleNamespace(message_hub=MessageHub.get_instance('throughput'))
    hook = ThroughputHook()
    hook.before_train_epoch(runner)
    rates = []
    for batch in (dict(left=torch.zeros(8, 1, 2, 2), name='a'), dict(name='a', inputs=torch.zeros(6, 1, 2, 2))):
        hook.after_train_iter(runner, 0, batch)
        rates.append(runner.message_hub.get_scalar('train/images_per_second').current())
    assert rates == [8 * 4 / 0.5, 6 * 4 / 2.0]


def test_throughput_leaves_validation_out(monkeypatch):
    """Iterations of 2 s and 4 s, 100 s of validation in the second one."""
    times = iter([10.0, 12.0, 13.0, 113.0, 116.0])
    monkeypatch.setattr(stage.time, 'perf_counter', lambda: next(times))
    runner, hook, rates = SimpleNamespace(message_hub=MessageHub.get_instance('validating')), ThroughputHook(), []
    hook.before_train_epoch(runner)
    for validates in (False, True):
        if validates:
            hook.before_val(runner)
            hook.after_val(runner)
        hook.after_train_iter(runner, 0, dict(inputs=torch.zeros(8, 1)))
        rates.append(runner.message_hub.get_scalar('train/images_per_second').current())
    assert rates == [8 / 2.0, 8 / 4.0]


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_divergence_names_epoch_and_iteration(value):
    runner = SimpleNamespace(epoch=2, work_dir='work_dirs/run/float')
    with pytest.raises(InputError, match=rf'loss became {value} in epoch 3, iteration 20; .*work_dirs/run/float'):
        DivergenceHook().after_train_iter(runner, 19, outputs=dict(loss=torch.tensor(value)))


@pytest.mark.parametrize('batch_idx', [0, 18, 20])
def test_loss_is_looked_at_every_interval_only(batch_idx):
    DivergenceHook().after_train_iter(None, batch_idx, outputs=dict(loss=torch.tensor(float('nan'))))


def test_seconds_go_on_where_the_checkpoint_stopped(monkeypatch):
    times = iter([100.0, 103.5, 200.0, 204.0])
    monkeypatch.setattr(stage.time, 'perf_counter', lambda: next(times))
    hub = MessageHub.get_instance('seconds')
    runner = SimpleNamespace(message_hub=hub, iter=0)
    checkpoint = dict(message_hub=dict(runtime_info={}))
    first, second = StageRecordHook(), StageRecordHook()
    first.before_train(runner)
    first.before_save_checkpoint(runner, checkpoint)
    hub.update_info('stage_seconds', checkpoint['message_hub']['runtime_info']['stage_seconds'])
    second.before_train(runner)
    assert second.seconds == 3.5 + 4.0
