"""Scikit-learn's digits: split, scale and size."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bireal_plugin.data import Digits
from bireal_plugin.errors import InputError


def test_splits_share_no_image_and_miss_none():
    parts = [Digits(split, size=8) for split in ('train', 'test')]
    images = [image.tobytes() for part in parts for image in part.samples]
    original = [np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images]
    assert len(set(original)) == len(original)
    assert sorted(images) == sorted(original)


def test_every_class_gives_a_fifth_to_the_test_split():
    total = np.bincount(load_digits().target)
    assert np.abs(np.bincount(Digits('test', size=8).targets) - total / 5).max() <= 1


def test_split_is_the_same_every_time():
    assert np.array_equal(Digits('test').samples, Digits('val').samples)


def test_labels_belong_to_their_images():
    digits = load_digits()
    label_of = {
        np.rint(image * 255 / 16).astype(np.uint8).tobytes(): int(label)
        for image, label in zip(digits.images, digits.target, strict=True)
    }
    dataset = Digits('test', size=8)
    assert [label_of[item['inputs'].numpy().tobytes()] for item in dataset] == [item['labels'] for item in dataset]


@pytest.mark.parametrize('size', [16, 32])
def test_enlarging_by_a_whole_factor_is_bilinear(size):
    small, large = Digits('test', size=8, subset=20), Digits('test', size=size, subset=20)
    centres = np.clip((np.arange(size) + 0.5) * 8 / size - 0.5, 0, 7)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(8)))
    expected = weights @ small.samples[..., 0].astype(float) @ weights.T
    assert np.abs(large.samples[..., 0] - expected).max() <= 1.5  # Pillow rounds after each axis


def test_metainfo_names_the_ten_digits():
    assert Digits('test', size=8).metainfo == {'classes': list('0123456789'), 'dataset': 'scikit-learn digits'}


@pytest.mark.parametrize(
    ('arguments', 'word'), [({'split': 'dev'}, "'dev'"), ({'size': 0}, 'size'), ({'size': 8.5}, '8.5')]
)
def test_wrong_arguments_are_named(arguments, word):
    with pytest.raises(InputError, match=word):
        Digits(**arguments)


def test_without_scikit_learn_a_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    with pytest.raises(InputError, match=r"pip install 'bireal-plugin\[digits\]'$"):
        Digits()
