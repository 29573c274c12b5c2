"""Weights before and after binarization, recomputed in numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.studies.figures.weights import has_latent_weights, layer_weights


def network(**options):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), BinaryConv2d(3, 4, 3, **options))


@pytest.mark.parametrize('binarizer', ['Sign', 'MagnitudeAware'])
def test_both_halves_are_of_the_same_latent_weights(binarizer):
    (layer,) = layer_weights(network(weight=binarizer))
    latent = layer.latent.reshape(4, -1)
    signs = np.where(latent < 0, -1, 1)
    np.testing.assert_array_equal(layer.signs.reshape(4, -1), signs)
    scales = np.abs(latent).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(layer.scaled.reshape(4, -1), signs * scales, rtol=1e-6)
    assert (layer.layer, layer.binarizer) == ('1', binarizer)


def test_alpha_is_the_ratio_of_l1_norms():
    (layer,) = layer_weights(network())
    assert layer.alpha(layer.signs) == pytest.approx(1 / np.abs(layer.latent).mean())
    assert layer.alpha(layer.scaled) == pytest.approx(1)


def test_a_backbone_is_not_named():
    model = nn.ModuleDict(dict(backbone=network()))
    assert [layer.layer for layer in layer_weights(model)] == ['1']


def test_real_weights_are_no_binary_layers():
    assert layer_weights(network(binary_weight=False)) == []
    assert not has_latent_weights([])


def test_weights_of_one_are_not_latent():
    model = network(weight='Sign')
    assert has_latent_weights(layer_weights(model))
    with torch.no_grad():
        model[1].weight.copy_(model[1].weight_binarizer(model[1].weight))
    assert not has_latent_weights(layer_weights(model))
