"""What stands behind the sign and behind real activations."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.studies.figures.activations import activations_of, negative_share, nonlinearity, spread_batch


class Network(nn.Module):
    """An mmengine model as far as ``activations_of`` knows one."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(1, 3, 3), BinaryConv2d(3, 4, 3, **options), BinaryConv2d(4, 4, 1))

    def test_step(self, batch):
        return self.backbone(batch)


BEHIND = {
    'sign': lambda x: np.where(x < 0, -1, 1),
    'relu': lambda x: np.maximum(x, 0),
    'clip': lambda x: np.clip(x, -1, 1),
}


@pytest.mark.parametrize('activation', BEHIND)
def test_activations_are_taken_behind_the_nonlinearity(activation):
    real = activation != 'sign'
    model = Network(activation=activation if real else None, binary_input=not real)
    batch = torch.randn(2, 1, 8, 8)
    found = activations_of(model, batch)
    first = model.backbone[0](batch)
    second = model.backbone[1](first)
    assert list(found) == ['1', '2']
    np.testing.assert_array_equal(found['1'], BEHIND[activation](first.flatten().detach().numpy()))
    np.testing.assert_array_equal(found['2'], BEHIND['sign'](second.flatten().detach().numpy()))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_relu_has_nothing_that_a_sign_makes_negative():
    batch = torch.randn(2, 1, 8, 8)
    relu = activations_of(Network(activation='relu', binary_input=False), batch)['1']
    clip = activations_of(Network(activation='clip', binary_input=False), batch)['1']
    assert negative_share(relu) == 0
    assert 10 < negative_share(clip) < 90


def test_a_sample_of_many_values_covers_every_column():
    batch = torch.arange(64.0).remainder(8).expand(4, 64).reshape(4, 1, 4, 16).repeat(1, 1, 4, 1)
    model = Network()
    model.backbone[0] = nn.Identity()
    model.backbone[1] = BinaryConv2d(1, 4, 1, binary_input=False)
    sample = activations_of(model, batch, most=200)['1']
    assert len(sample) <= 200
    assert set(sample) == set(range(8))


def test_a_network_without_sign_is_refused():
    with pytest.raises(InputError, match='no binary convolutions'):
        activations_of(nn.Sequential(nn.Conv2d(1, 1, 1)), torch.zeros(1, 1, 1, 1))


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        (dict(), 'sign'),
        (dict(binary_input=False, activation='relu'), 'relu'),
        (dict(binary_input=False, activation='leaky_clip'), 'leaky_clip'),
        (dict(binary_input=False, activation='clip'), 'clip'),
        (dict(binary_input=False), None),
    ],
)
def test_nonlinearity(options, name):
    assert nonlinearity(Network(**options)) == name


def test_a_network_without_binary_convolutions_has_none():
    assert nonlinearity(nn.Conv2d(1, 1, 1)) is None


def test_the_batch_is_spread_over_the_test_data():
    loader = dict(dataset=dict(type='Digits', split='test'), collate_fn=dict(type='default_collate'))
    config = Config(dict(test_dataloader=loader))
    everything = spread_batch(config, 10_000)
    batch = spread_batch(config, 5)
    total = len(everything['labels'])
    places = [round(i * (total - 1) / 4) for i in range(5)]
    assert torch.equal(batch['inputs'], everything['inputs'][places])
