import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d, Sign
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales, conv_norm_pairs


def network(*, bias=False, per='channel', dtype=torch.float64):
    torch.manual_seed(0)
    layers = []
    for _ in range(2):
        layers += [
            BinaryConv2d(6, 6, 3, padding=1, bias=bias, weight=dict(type='MagnitudeAware', per=per)),
            nn.BatchNorm2d(6),
        ]
    net = nn.Sequential(*layers).to(dtype)
    for norm in (net[1], net[3]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.1, 2)
        norm.weight.data.normal_()
        norm.bias.data.normal_()
    return net.eval()


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('per', ['channel', 'layer'])
def test_output_is_unchanged_and_weights_become_exactly_one(bias, per):
    net = network(bias=bias, per=per)
    x = torch.randn(4, 6, 8, 8, dtype=torch.float64)
    before = net(x)
    assert absorb_scales(net) == 2
    torch.testing.assert_close(net(x), before, rtol=1e-10, atol=1e-10)
    for conv in (net[0], net[2]):
        assert isinstance(conv.weight_binarizer, Sign)
        assert set(conv.weight.unique().tolist()) <= {-1.0, 1.0}


def test_statistics_are_those_of_eq_20():
    net = network()
    scale = net[0].weight.detach().abs().mean((1, 2, 3))
    mean, var, gamma, eps = *(t.clone() for t in (net[1].running_mean, net[1].running_var, net[1].weight)), net[1].eps
    absorb_scales(net)
    torch.testing.assert_close(net[1].running_mean, mean / scale)
    torch.testing.assert_close(net[1].running_var + eps, (var + eps) / scale**2)
    assert torch.equal(net[1].weight, gamma)


def test_training_mode_batch_norm_does_not_see_the_scale():
    """Eq. 20 the other way round: with batch statistics, W_b and Sign(W) give the same output (up to eps)."""
    net = network()
    net.train()
    x = torch.randn(4, 6, 8, 8, dtype=torch.float64)
    before = net[1](net[0](x))
    absorb_scales(net)
    torch.testing.assert_close(net[1](net[0](x)), before, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(('factor', 'variance'), [(0.0, 1.0), (1e3, 1e-9), (1e3, 0.0)])
def test_dead_and_huge_channels_keep_their_output(factor, variance):
    net = network(bias=True)
    net[0].weight.data[2] *= factor
    net[1].running_var[2] = variance
    x = torch.randn(4, 6, 8, 8, dtype=torch.float64)
    before = net[:2](x)
    absorb_scales(net)
    torch.testing.assert_close(net[:2](x), before, rtol=1e-7, atol=1e-7)


def test_a_convolution_without_batch_norm_is_named():
    net = nn.Sequential(BinaryConv2d(6, 6, 3), nn.ReLU(), nn.BatchNorm2d(6))
    with pytest.raises(InputError, match="follows the binary convolution '0'"):
        conv_norm_pairs(net)


def test_real_weights_are_refused():
    net = network()
    net[2].binary_weight = False
    with pytest.raises(InputError, match="'2' still has real weights"):
        absorb_scales(net)
