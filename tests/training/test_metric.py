"""Top-k accuracy against a sort in numpy."""

import numpy as np
import pytest
import torch

from bireal_plugin.training import TopKAccuracy


def accuracies(scores, labels, topk):
    metric = TopKAccuracy(topk=topk)
    samples = [dict(scores=torch.tensor(row), label=int(label)) for row, label in zip(scores, labels, strict=True)]
    metric.process(None, samples)
    return metric.evaluate(len(labels))


@pytest.mark.parametrize('levels', [1_000_000, 3])  # without ties, and with many
def test_accuracy_is_that_of_a_stable_sort(levels):
    rng = np.random.default_rng(0)
    scores = rng.integers(levels, size=(200, 10)) / levels
    labels = rng.integers(10, size=200)
    order = np.argsort(-scores, axis=1, kind='stable')
    expected = {f'accuracy/top{k}': 100 * np.mean((order[:, :k] == labels[:, None]).any(1)) for k in (1, 3, 5)}
    assert accuracies(scores, labels, (1, 3, 5)) == pytest.approx(expected, abs=1e-12)


def test_constant_scores_are_right_by_chance_alone():
    labels = np.arange(10)
    assert accuracies(np.zeros((10, 10)), labels, (1, 5)) == {'accuracy/top1': 10.0, 'accuracy/top5': 50.0}


def test_nan_scores_are_wrong():
    scores = np.eye(10)
    scores[:4, 0] = np.nan
    assert accuracies(scores, np.arange(10), (1, 5)) == {'accuracy/top1': 60.0, 'accuracy/top5': 60.0}
