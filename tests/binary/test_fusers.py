"""Fusers of BatchNorm that know real convolutions alone: the network stays the same, or a sentence says why not."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bireal_plugin import BiRealResNet, InputError, absorb_scales
from bireal_plugin.binary import BinaryConv2d


def trained(net):
    """Statistics and scales as after training; a third of the scales are negative."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, -0.5, 1)
            nn.init.normal_(module.bias, std=0.3)
    return net.eval()


def pair(**options):
    torch.manual_seed(0)
    return trained(nn.Sequential(BinaryConv2d(8, 16, 3, padding=1, **{'bias': False, **options}), nn.BatchNorm2d(16)))


def by_torch(net):
    return nn.Sequential(fuse_conv_bn_eval(*net), nn.Identity())


def by_mmcv(net):
    return pytest.importorskip('mmcv.cnn').fuse_conv_bn(net)


FUSERS = [by_torch, by_mmcv]
X = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('fuse', FUSERS)
@pytest.mark.parametrize('options', [{}, dict(bias=True), dict(binary_weight=False), dict(binary_input=False)])
def test_scales_of_a_channel_take_the_norm_in_exactly(fuse, options):
    net = pair(**options)
    expected = net(X)
    fused = fuse(copy.deepcopy(net))
    assert type(fused[1]) is nn.Identity
    torch.testing.assert_close(fused(X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('fuse', FUSERS)
@pytest.mark.parametrize(
    'options', [dict(weight='Sign'), dict(weight=dict(type='MagnitudeAware', per='layer')), dict(weight='WeightBases')]
)
def test_weights_that_do_not_scale_are_refused_before_they_change(fuse, options):
    net = pair(**options)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(InputError, match=r'does not scale as the weight does: fuse BatchNorm by bireal_plugin\.fold'):
        fuse(net)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize('fuse', FUSERS)
def test_a_weight_of_0_keeps_its_sign_or_is_refused(fuse):
    """0 counts as +1, and so does -0.0 behind a negative scale."""
    net = pair()
    channel = int(net[1].weight.argmin())
    assert net[1].weight[channel] < 0
    net[0].weight.data[channel, 0] = 0
    with pytest.raises(InputError, match='does not scale as the weight does'):
        fuse(net)


def test_mmcv_fuses_a_whole_network():
    fuse = pytest.importorskip('mmcv.cnn').fuse_conv_bn
    torch.manual_seed(0)
    net = trained(BiRealResNet(50, base_channels=8)).double()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = net(x)
    for got, want in zip(fuse(copy.deepcopy(net))(x), expected, strict=True):
        torch.testing.assert_close(got, want)
    absorb_scales(net, x.shape)
    with pytest.raises(InputError, match='computes with Sign'):
        fuse(net)


@pytest.mark.parametrize('weight', ['Sign', 'MagnitudeAware'])
def test_other_weights_may_be_assigned(weight):
    conv = BinaryConv2d(4, 8, 3, weight=weight)
    other = nn.Parameter(torch.randn_like(conv.weight))
    for new in (other, nn.Parameter(other.detach().clone()), nn.Parameter(-other.detach().abs())):
        conv.weight = new
        assert conv.weight is new
    conv.load_state_dict(BinaryConv2d(4, 8, 3).state_dict(), assign=True)
    assert copy.deepcopy(conv).weight.equal(conv.weight)
