"""Keys, augmentation, subsets and transforms of every classification dataset, on a tiny one."""

from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from bireal_plugin.data import ClassificationDataset, EpochSampler, PadCropFlip
from bireal_plugin.errors import InputError

TARGETS = np.array([0, 0, 0, 0, 1, 1, 2, 0, 1, 2])


class Noise(ClassificationDataset):
    name = 'noise'

    def __init__(self, **kwargs):
        samples = np.random.default_rng(7).integers(0, 256, (len(TARGETS), 9, 9, 3), dtype=np.uint8)
        super().__init__(samples, TARGETS, classes=('a', 'b', 'c'), **kwargs)

    def image(self, index):
        return self.samples[index]


def drawn(image, rng):
    """A transform whose output is what the generator gives first."""
    return torch.from_numpy(rng.integers(0, 256, (1, 4, 4), dtype=np.uint8))


@pytest.mark.parametrize(('epoch', 'index', 'seed'), [(0, 0, 0), (0, 3, 0), (5, 3, 0), (5, 3, 11)])
def test_generator_of_an_item_is_seeded_with_seed_epoch_index(epoch, index, seed):
    expected = np.random.default_rng((seed, epoch, index)).integers(0, 256, (1, 4, 4), dtype=np.uint8)
    inputs = Noise(transform=drawn, seed=seed)[epoch, index]['inputs']
    assert np.array_equal(inputs, expected)


def test_plain_index_is_epoch_zero():
    dataset = Noise(transform=drawn)
    assert torch.equal(dataset[4]['inputs'], dataset[0, 4]['inputs'])


def test_negative_index_counts_from_the_end():
    dataset = Noise(transform=drawn)
    assert torch.equal(dataset[-1]['inputs'], dataset[len(dataset) - 1]['inputs'])


def test_index_past_the_end_ends_iteration():
    assert [item['labels'] for item in Noise()] == TARGETS.tolist()


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_do_not_depend_on_the_number_of_workers(workers):
    dataset = Noise(transform=PadCropFlip(pad=2))
    sampler = EpochSampler(dataset, seed=3)
    sampler.set_epoch(2)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers)
    loaded = torch.cat([batch['inputs'] for batch in loader])
    assert torch.equal(loaded, torch.stack([dataset[key]['inputs'] for key in sampler]))


def test_item_shares_no_memory_with_the_dataset():
    dataset = Noise()
    before = dataset.samples.copy()
    dataset[0]['inputs'].zero_()
    assert np.array_equal(dataset.samples, before)


@pytest.mark.parametrize(
    ('subset', 'kept'),
    [(1, [0]), (3, [0, 4, 6]), (6, [0, 1, 4, 5, 6, 9]), (8, [0, 1, 2, 4, 5, 6, 8, 9]), (10, list(range(10)))],
)
def test_subset_keeps_the_first_images_of_each_class_in_equal_shares(subset, kept):
    dataset, whole = Noise(subset=subset), Noise()
    assert np.array_equal(dataset.samples, whole.samples[kept])
    assert dataset.targets.tolist() == TARGETS[kept].tolist()


def test_metainfo_is_plain():
    assert Noise(subset=1).metainfo == {'classes': ['a', 'b', 'c'], 'dataset': 'noise'}


def test_transform_config_is_built_through_the_registry():
    transform = Noise(transform={'type': 'PadCropFlip', 'pad': 1}).transform
    assert (type(transform), transform.pad) == (PadCropFlip, 1)


@pytest.mark.parametrize('name', ['ImageNetFolder', 'CIFAR10Files', 'FashionMNISTFiles', 'Digits'])
def test_datasets_are_registered_by_name(name):
    assert issubclass(DATASETS.get(name), ClassificationDataset)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'transform': {'type': 'Nope'}}, ['Nope', 'custom_imports', 'ImageToTensor8']),
        ({'transform': {'pad': 3}}, ["'pad': 3", 'type']),
        ({'transform': 5}, ['5', 'transform(image, rng)']),
        ({'transform': lambda image: image}, ['transform(image, rng)']),
        ({'subset': 0}, ['subset', '10 images', 'not 0']),
        ({'subset': 11}, ['subset', '10 images', 'not 11']),
        ({'subset': 2.5}, ['subset', '2.5']),
        ({'seed': -1}, ['seed', '-1']),
        ({'seed': None}, ['seed', 'None']),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(InputError) as caught:
        Noise(**arguments)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ('output', 'found'),
    [
        (np.zeros((3, 9, 9), np.uint8), 'ndarray'),
        (torch.zeros(3, 9, 9), 'torch.float32 (3, 9, 9)'),
        (torch.zeros(9, 9, dtype=torch.uint8), '(9, 9)'),
    ],
)
def test_transform_that_returns_something_else_is_refused(output, found):
    with pytest.raises(InputError, match='ImageToTensor8') as caught:
        Noise(transform=lambda image, rng: output)[0]
    assert found in str(caught.value)


def test_seeds_give_different_augmentations():
    first, second = (Noise(transform=drawn, seed=seed) for seed in (0, 1))
    different = Counter(torch.equal(a['inputs'], b['inputs']) for a, b in zip(first, second, strict=True))
    assert different == {False: len(TARGETS)}
