"""The order of images: pure in (seed, epoch), complete, and the same for any number of processes."""

import pickle

import pytest
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import DataLoader

from bireal_plugin.data import EpochSampler
from bireal_plugin.data import sampler as module
from bireal_plugin.data.sampler import EpochIndex


def keys_of(sampler):
    """``(epoch, index)`` of everything it yields."""
    return [(key.epoch, int(key)) for key in sampler]


def process(monkeypatch, rank, world_size, length, *, epoch=0, **kwargs):
    """The sampler of one process out of several."""
    monkeypatch.setattr(module, 'get_dist_info', lambda: (rank, world_size))
    sampler = EpochSampler(range(length), **kwargs)
    sampler.set_epoch(epoch)
    return sampler


@pytest.mark.parametrize('epoch', [0, 3])
def test_each_index_comes_once_with_its_epoch(monkeypatch, epoch):
    keys = keys_of(process(monkeypatch, 0, 1, 50, epoch=epoch, seed=1))
    assert sorted(keys) == [(epoch, index) for index in range(50)]


def test_epochs_have_different_orders(monkeypatch):
    first, second = (list(process(monkeypatch, 0, 1, 50, epoch=epoch, seed=1)) for epoch in (0, 1))
    assert first != second


def test_next_seed_is_not_the_next_epoch(monkeypatch):
    first = list(process(monkeypatch, 0, 1, 50, epoch=1, seed=0))
    second = list(process(monkeypatch, 0, 1, 50, epoch=0, seed=1))
    assert first != second


def test_order_is_a_function_of_seed_and_epoch(monkeypatch):
    resumed = process(monkeypatch, 0, 1, 50, epoch=4, seed=2)
    continued = process(monkeypatch, 0, 1, 50, seed=2)
    for epoch in range(5):
        continued.set_epoch(epoch)
        keys = keys_of(continued)
    assert keys_of(resumed) == keys


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize(('world_size', 'batch', 'length'), [(2, 4, 32), (4, 2, 32), (3, 5, 31), (2, 8, 5)])
def test_batches_of_all_processes_unite_to_those_of_one(monkeypatch, shuffle, world_size, batch, length):
    def keys(rank, size):
        return keys_of(process(monkeypatch, rank, size, length, seed=9, epoch=2, shuffle=shuffle, round_up=False))

    single = keys(0, 1)
    several = [keys(rank, world_size) for rank in range(world_size)]
    for start in range(0, length, world_size * batch):
        k = start // world_size
        union = sorted(key for own in several for key in own[k : k + batch])
        assert union == sorted(single[start : start + world_size * batch])


@pytest.mark.parametrize('length', [1, 7, 8])
def test_rounding_up_gives_every_process_equally_many(monkeypatch, length):
    samplers = [process(monkeypatch, rank, 4, length, seed=0) for rank in range(4)]
    assert {len(list(sampler)) for sampler in samplers} == {-(-length // 4)}


@pytest.mark.parametrize('length', [1, 7, 8])
@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize('rank', range(4))
def test_without_shuffling_it_is_mmengines_sampler(monkeypatch, length, round_up, rank):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, 4))
    theirs = DefaultSampler(range(length), shuffle=False, seed=0, round_up=round_up)
    ours = process(monkeypatch, rank, 4, length, shuffle=False, seed=0, round_up=round_up, epoch=6)
    assert keys_of(ours) == [(0, index) for index in theirs]
    assert len(ours) == len(theirs)


def test_length_is_that_of_the_iteration(monkeypatch):
    samplers = [process(monkeypatch, rank, 4, 6, seed=0, round_up=False) for rank in range(4)]
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers] == [2, 2, 1, 1]


def test_without_a_seed_the_processes_share_one(monkeypatch):
    monkeypatch.setattr(module, 'sync_random_seed', lambda: 1234)
    assert list(process(monkeypatch, 0, 1, 20)) == list(process(monkeypatch, 0, 1, 20, seed=1234))


def test_any_dataset_takes_its_indices():
    letters = list('abcdefgh')
    loader = DataLoader(letters, batch_size=3, sampler=EpochSampler(letters, seed=0))
    assert sorted(letter for batch in loader for letter in batch) == letters


def test_workers_get_the_epoch():
    key = pickle.loads(pickle.dumps(EpochIndex(7, 3)))
    assert (key, key.epoch) == (7, 3)


def test_sampler_is_registered_by_name():
    assert DATA_SAMPLERS.get('EpochSampler') is EpochSampler
