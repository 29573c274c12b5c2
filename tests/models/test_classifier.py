"""The classifier on a backbone, and its top-k accuracy against a sort in numpy."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from bireal_plugin.errors import InputError
from bireal_plugin.models import BiRealClassifier, ImagePreprocessor
from bireal_plugin.models.classifier import TopKAccuracy


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    backbone = dict(type='BiRealResNet', depth=18, base_channels=8, stem='cifar', out_indices=(3,))
    return MODELS.build(dict(type='BiRealClassifier', backbone=backbone, num_classes=7, label_smoothing=0.1)).eval()


def test_tensor_mode_is_pool_and_linear_on_the_last_feature_map(classifier):
    x = torch.randn(2, 3, 32, 32)
    features = classifier.backbone(x)[-1].mean((2, 3))
    torch.testing.assert_close(classifier(x), features @ classifier.fc.weight.T + classifier.fc.bias)


def test_loss_is_smoothed_cross_entropy(classifier):
    x, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 6, 2, 2])
    log_p = F.log_softmax(classifier(x), -1)
    expected = (-0.9 * log_p[range(4), labels] - 0.1 * log_p.mean(-1)).mean()
    torch.testing.assert_close(classifier(x, labels, mode='loss')['loss'], expected)


def test_predictions_are_probabilities_with_their_labels(classifier):
    x = torch.randn(3, 3, 32, 32)
    samples = classifier(x, torch.tensor([5, 1, 0]), mode='predict')
    assert [sample['label'] for sample in samples] == [5, 1, 0]
    torch.testing.assert_close(torch.stack([s['scores'] for s in samples]), classifier(x).softmax(-1))


def test_preprocessor_normalises_by_channel():
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    out = ImagePreprocessor(mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))(dict(inputs=images, labels=torch.zeros(2)))
    for channel, (mean, std) in enumerate([(1, 2), (2, 4), (3, 8)]):
        torch.testing.assert_close(out['inputs'][:, channel], (images[:, channel].float() - mean) / std)


def test_preprocessor_lays_out_batches_channels_last_for_the_same_loss(classifier):
    data = dict(inputs=torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), labels=torch.tensor([1, 2]))
    plain, last = ImagePreprocessor()(data), ImagePreprocessor(channels_last=True)(data)
    assert last['inputs'].is_contiguous(memory_format=torch.channels_last)
    assert classifier.backbone(last['inputs'])[-1].is_contiguous(memory_format=torch.channels_last)
    losses = [classifier(**each, mode='loss')['loss'].item() for each in (plain, last)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_checkpoint_holds_weights_only(classifier):
    assert {key.split('.')[0] for key in classifier.state_dict()} == {'backbone', 'fc'}


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (lambda c: c(torch.randn(1, 3, 32, 32), mode='loss'), 'needs labels'),
        (lambda c: c(torch.randn(1, 3, 32, 32), mode='train'), "not 'train'"),
        (lambda c: ImagePreprocessor(mean=(0.0,), std=(1.0, 2.0)), 'one entry per channel'),
    ],
)
def test_wrong_calls_are_told(classifier, call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(classifier)


def test_a_module_can_be_the_backbone(classifier):
    assert isinstance(BiRealClassifier(classifier.backbone, 3)(torch.randn(1, 3, 32, 32)), torch.Tensor)


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
