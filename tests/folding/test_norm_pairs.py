"""Which BatchNorm a convolution takes in. Every network is run folded and unfolded, in float64."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.folding.fold import fold
from bireal_plugin.folding.norm_pairs import norm_pairs
from bireal_plugin.models import BiRealResNet, binarize
from tests.folding.test_fold import trained
from tests.models.hosts import tiny_basic, tiny_bottleneck


class Net(nn.Module):
    """A stem and layers of four channels in the order of definition ``conv1, bn1, conv2, bn2``; ``flow`` wires them."""

    def __init__(self, flow):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.conv1, self.bn1 = BinaryConv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = BinaryConv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.flow = flow

    def forward(self, x):
        return self.flow(self, self.stem(x))


def pre_activation(net, x):
    y = net.conv1(F.relu(net.bn1(x)) - 0.5)
    return x + net.conv2(net.bn2(y))


def returned_too(net, x):
    y = net.conv1(x)
    return net.bn2(net.conv2(net.bn1(y))), y


def shortcut_from_between(net, x):
    y = net.conv1(x)
    return net.bn2(net.conv2(net.bn1(y))) + y


def changed_in_place(net, x):
    return net.bn2(net.conv2(net.bn1(net.conv1(x).relu_())))


def a_view_is_read(net, x):
    y = net.conv1(x)
    return net.bn2(net.conv2(net.bn1(y))) + y.mean((2, 3), keepdim=True)


def one_convolution_for_two_norms(net, x):
    return net.bn1(net.conv1(x)) + net.bn2(net.conv1(x + 0.5))


def one_norm_for_two_convolutions(net, x):
    return net.bn1(net.conv1(x)) + net.bn1(net.conv2(x))


def pair_called_twice(net, x):
    return net.bn1(net.conv1(net.bn1(net.conv1(x))))


def crossed(net, x):
    return net.bn1(net.conv2(net.bn2(net.conv1(x))))


def by_keyword(net, x):
    return net.bn2(net.conv2(net.bn1(input=net.conv1(x))))


STRAIGHT = {'conv1': 'bn1', 'conv2': 'bn2'}


@pytest.mark.parametrize(
    ('flow', 'pairs'),
    [
        (lambda net, x: net.bn2(net.conv2(net.bn1(net.conv1(x)))), STRAIGHT),
        (by_keyword, STRAIGHT),
        (crossed, {'conv1': 'bn2', 'conv2': 'bn1'}),
        (pre_activation, {'conv1': 'bn2'}),
        (returned_too, {'conv2': 'bn2'}),
        (shortcut_from_between, {'conv2': 'bn2'}),
        (changed_in_place, {'conv2': 'bn2'}),
        (a_view_is_read, {'conv2': 'bn2'}),
        (one_convolution_for_two_norms, {}),
        (one_norm_for_two_convolutions, {}),
        (pair_called_twice, {'conv1': 'bn1'}),
    ],
)
def test_a_pair_is_what_data_flows_through(flow, pairs):
    torch.manual_seed(0)
    net = trained(Net(flow)).double()
    assert norm_pairs(net) == pairs
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fold(net)(x), net(x), rtol=1e-5, atol=1e-5)


class Untracked(nn.BatchNorm2d):
    """A BatchNorm with statistics of the batch."""

    def __init__(self, channels):
        super().__init__(channels, track_running_stats=False)


@pytest.mark.parametrize(
    ('norm', 'is_folded'),
    [
        (nn.BatchNorm2d, True),
        (nn.SyncBatchNorm, True),
        (lambda channels: nn.BatchNorm2d(channels, affine=False), True),
        (Untracked, False),
        (lambda channels: nn.GroupNorm(2, channels), False),
        (timm.layers.BatchNormAct2d, False),
    ],
)
def test_norms_that_are_more_or_other_than_a_constant_affine_map_stay(norm, is_folded):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), BinaryConv2d(4, 4, 3), norm(4)).double().eval()
    folded, x = fold(net), torch.randn(2, 3, 9, 9, dtype=torch.float64)
    assert (type(folded[1]) is nn.Identity, type(folded[3]) is nn.Identity) == (is_folded, is_folded)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)


def test_a_module_with_two_names_is_replaced_under_both():
    pair = trained(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))).double()
    net = nn.Sequential(*pair, pair)
    folded, x = fold(net), torch.randn(1, 4, 5, 5, dtype=torch.float64)
    assert folded[0] is folded[2][0]
    assert type(folded[1]) is type(folded[2][1]) is nn.Identity
    torch.testing.assert_close(folded(x), net(x))


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('structure', ['bireal', 'resnet', 'plain'])
def test_our_networks_have_no_batch_norm_left(depth, structure):
    net = BiRealResNet(depth, base_channels=8, structure=structure, deep_stem=depth == 50)
    pairs = norm_pairs(net)
    assert len(pairs) == sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert all(conv.replace('conv', 'bn') == norm for conv, norm in pairs.items() if '.conv' in conv)


@pytest.mark.parametrize('host', [tiny_basic, tiny_bottleneck], ids=['timm', 'torchvision'])
def test_converted_networks_of_other_libraries_fold(host):
    net = host()
    binarize(net, shape=(3, 64, 64))
    net = trained(net).double()
    folded, x = fold(net), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    assert not any(isinstance(module, (nn.BatchNorm2d, BinaryConv2d)) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-3, atol=1e-3)


def test_a_real_network_folds_its_batch_norms():
    net = trained(torchvision.models.resnet18(num_classes=5)).double()
    folded, x = fold(net), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-6, atol=1e-6)


class TakesTwoSizes(nn.Module):
    """Runs only on images of 8 x 8."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = BinaryConv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Linear(4 * 64, 2)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).flatten(1))


def test_an_example_shape_runs_what_the_default_does_not():
    net = trained(TakesTwoSizes()).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(fold(net, (1, 1, 8, 8))(x), net(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(
        InputError, match=r'TakesTwoSizes does not run on an input of shape \(1, 1, 224, 224\).*give ex'
    ):
        fold(net)
    with pytest.raises(InputError, match=r'example_shape is \(N, C, H, W\), not \(8, 8\); give'):
        fold(net, (8, 8))


class AsMMEngineTeaches(Net):
    """``forward`` of the tutorial: all arguments are needed."""

    def forward(self, imgs, labels, mode):
        x = super().forward(imgs)
        if mode == 'loss':
            return dict(loss=F.cross_entropy(x.mean((2, 3)), labels))
        return x if mode == 'tensor' else (x, labels)


def test_a_model_of_mmengine_that_needs_labels_and_a_mode_runs_without():
    assert norm_pairs(AsMMEngineTeaches(crossed)) == {'conv1': 'bn2', 'conv2': 'bn1'}
