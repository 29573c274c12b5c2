"""StreetPairs: items, splits that share nothing, the cache, and mirrored pairs."""

import itertools

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from bireal_plugin.data import EpochSampler
from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.depth.street.scene import render_street
from bireal_plugin.errors import InputError

SMALL = (32, 104)


def test_an_item_is_the_rendered_street() -> None:
    pairs = DATASETS.build(dict(type='StreetPairs', split='train', length=3, size=SMALL, seed=5))
    item = pairs[2]
    scene = render_street(10_000_002, SMALL)
    assert sorted(item) == ['baseline', 'depth', 'focal', 'left', 'name', 'right']
    for side in ('left', 'right'):
        assert item[side].dtype == torch.uint8
        np.testing.assert_array_equal(item[side].numpy(), np.moveaxis(getattr(scene, side), 2, 0))
    np.testing.assert_array_equal(item['depth'].numpy(), scene.depth_left)
    assert (item['focal'], item['baseline'], item['name']) == (0.58 * 104, 0.54, 'train_000002')


def test_splits_and_seeds_share_no_street() -> None:
    drawn = [
        {pairs.first_street + index for index in (0, len(pairs) - 1)}
        for seed in range(3)
        for pairs in (StreetPairs(split, 1_000_000, SMALL, seed) for split in ('train', 'test'))
    ]
    ranges = sorted((min(pair), max(pair)) for pair in drawn)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))


def test_a_split_is_its_own_in_pixels() -> None:
    items = [StreetPairs(split, 2, SMALL)[index]['left'] for split in ('train', 'test') for index in (0, 1)]
    for one in range(4):
        for other in range(one):
            assert (items[one] != items[other]).float().mean() > 0.5


def test_a_pair_is_rendered_once_and_kept_from_changes() -> None:
    pairs = StreetPairs('test', 2, SMALL)
    scene = pairs.scene(1)
    first = pairs[1]
    kept = first['left'].clone()
    first['left'].zero_()
    first['depth'].zero_()
    assert pairs.scene(1) is scene
    assert torch.equal(pairs[1]['left'], kept)
    assert pairs[1]['depth'].any()


def test_a_mirrored_pair_swaps_left_and_right() -> None:
    torch.manual_seed(0)
    plain, mirrored = StreetPairs('train', 1, SMALL), StreetPairs('train', 1, SMALL, flip=True)
    scene = plain.scene(0)
    seen = []
    for _ in range(12):
        item = mirrored[0]
        if torch.equal(item['left'], plain[0]['left']):
            seen.append('plain')
            assert torch.equal(item['right'], plain[0]['right'])
            assert torch.equal(item['depth'], plain[0]['depth'])
        else:
            seen.append('mirrored')
            assert torch.equal(item['left'], plain[0]['right'].flip(-1))
            assert torch.equal(item['right'], plain[0]['left'].flip(-1))
            np.testing.assert_array_equal(item['depth'].numpy(), scene.depth_right[:, ::-1])
    assert set(seen) == {'plain', 'mirrored'}


def test_the_sampler_decides_mirroring_and_workers_agree() -> None:
    pairs = StreetPairs('train', 4, SMALL, flip=True)
    sampler = EpochSampler(pairs, seed=3)
    epochs = []
    for workers in (0, 2):
        loader = DataLoader(pairs, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=default_collate)
        epochs.append([])
        for epoch in range(4):
            sampler.set_epoch(epoch)
            epochs[-1] += [batch['left'] for batch in loader]
    assert all(torch.equal(one, other) for one, other in zip(*epochs, strict=True))
    items = [pairs[epoch, 0]['left'] for epoch in range(20)]
    assert 3 < sum(torch.equal(item, items[0]) for item in items) < 17


def test_disparity_stays_positive_in_a_mirrored_pair() -> None:
    pairs = StreetPairs('train', 1, (64, 208), flip=True)
    item = pairs[0]
    for seed in range(20):
        torch.manual_seed(seed)
        item = pairs[0]
        if not torch.equal(item['depth'], torch.from_numpy(pairs.scene(0).depth_left)):
            break
    left, right, depth = (item[key].double().numpy() for key in ('left', 'right', 'depth'))
    shift = np.where(depth > 0, item['focal'] * item['baseline'] / np.where(depth > 0, depth, 1), 0)
    errors = []
    for sign in (1, -1):
        columns = np.arange(208) - sign * shift
        inside = (columns >= 0) & (columns <= 207) & (depth > 0)
        warped = np.stack([np.interp(columns[row], np.arange(208), right[1, row]) for row in range(64)])
        errors.append(np.abs(warped - left[1])[inside].mean())
    assert errors[0] < 0.5 * errors[1]


def test_items_collate_into_a_batch() -> None:
    pairs = StreetPairs('train', 3, SMALL)
    batch = default_collate(list(pairs))
    assert batch['left'].shape == batch['right'].shape == (3, 3, *SMALL)
    assert batch['depth'].shape == (3, *SMALL)
    assert batch['focal'].shape == batch['baseline'].shape == (3,)
    assert batch['name'] == ['train_000000', 'train_000001', 'train_000002']


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (dict(split='val', length=3), "split='val'"),
        (dict(split='train', length=0), 'length=0'),
        (dict(split='train', length=1_000_001), 'length=1000001'),
        (dict(split='train', length=1, seed=-1), 'seed=-1'),
    ],
)
def test_impossible_arguments_are_named(arguments: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        StreetPairs(**arguments)
