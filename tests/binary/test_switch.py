import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d, Clip, set_activation, set_weights
from bireal_plugin.errors import InputError


@pytest.fixture
def net():
    return nn.Sequential(BinaryConv2d(4, 4, 1), BinaryConv2d(4, 4, 3), nn.Conv2d(4, 4, 1))


@pytest.mark.parametrize(
    ('step', 'binary'), [('real', [False, False]), ('step1', [True, False]), ('binary', [True, True])]
)
def test_step_1_binarizes_the_weights_of_1x1_convolutions_only(net, step, binary):
    set_weights(net, step)
    assert [conv.binary_weight for conv in net[:2]] == binary


def test_activation_is_switched_there_and_back(net):
    set_activation(net, 'clip')
    assert [(conv.binary_input, type(conv.activation)) for conv in net[:2]] == [(False, Clip)] * 2
    set_activation(net, 'sign')
    assert [(conv.binary_input, type(conv.activation)) for conv in net[:2]] == [(True, nn.Identity)] * 2


def test_switching_replaces_no_parameter(net):
    before = [id(parameter) for parameter in net.parameters()]
    set_activation(net, 'leaky_clip')
    set_weights(net, 'real')
    assert [id(parameter) for parameter in net.parameters()] == before
    assert torch.isfinite(net(torch.randn(1, 4, 8, 8))).all()


def test_unknown_step_is_told(net):
    with pytest.raises(InputError, match="not 'step3'"):
        set_weights(net, 'step3')
