import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d, Sign
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales, conv_norm_pairs
from bireal_plugin.training.config import load_config


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


class Wired(nn.Module):
    """Layers of six channels defined as ``conv1, bn1, conv2, bn2``, in float64; ``flow`` wires them."""

    def __init__(self, flow):
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = network()
        self.flow = flow

    def forward(self, x):
        return self.flow(self, x)


def crossed(net, x):
    return net.bn1(net.conv2(net.bn2(net.conv1(x))))


def pre_activation(net, x):
    return net.bn1(net.conv2(net.bn2(net.conv1(net.bn1.weight.mean() + x))))


def dropout_between(net, x):
    return net.bn2(F.dropout(net.conv2(net.bn1(net.conv1(x))), training=net.training))


def called_twice(net, x):
    return net.bn2(net.conv2(net.bn1(net.conv1(net.bn1(net.conv1(x))))))


@pytest.mark.parametrize('flow', [crossed, pre_activation, dropout_between, called_twice])
def test_the_scale_moves_along_the_flow_of_data(flow):
    net, x = Wired(flow).eval(), torch.randn(4, 6, 8, 8, dtype=torch.float64)
    before = net(x)
    assert absorb_scales(net) == 2
    torch.testing.assert_close(net(x), before, rtol=1e-10, atol=1e-10)


def joined_before_the_norm(net, x):
    return net.bn2(net.conv2(net.bn1(net.conv1(x) + x)))


def activated_before_the_norm(net, x):
    return net.bn2(net.conv2(net.bn1(F.relu(net.conv1(x)))))


def read_beside_the_norm(net, x):
    y = net.conv1(x)
    return net.bn2(net.conv2(net.bn1(y))) + y


def returned_beside_the_norm(net, x):
    y = net.conv1(x)
    return net.bn2(net.conv2(net.bn1(y))), y


def without_norm(net, x):
    return net.bn2(net.conv2(net.conv1(x)))


def one_norm_for_two(net, x):
    return net.bn2(net.conv1(x)) + net.bn2(net.bn1(net.conv1(x)))


def two_norms_for_one(net, x):
    return net.bn1(net.conv1(x)) + net.bn2(net.conv1(x + 1))


def never_called(net, x):
    return net.bn2(net.conv2(x))


@pytest.mark.parametrize(
    'flow',
    [
        joined_before_the_norm,
        activated_before_the_norm,
        read_beside_the_norm,
        returned_beside_the_norm,
        without_norm,
        one_norm_for_two,
        two_norms_for_one,
        never_called,
    ],
)
def test_a_scale_that_no_batch_norm_can_take_is_refused_by_name_and_nothing_changes(flow):
    net = Wired(flow).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(InputError, match="binary convolution 'conv1' is not read by one BatchNorm and nothing else"):
        absorb_scales(net)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


class TakesBoxes(nn.Module):
    """A detector, as far as its forward goes."""

    def __init__(self, backbone):
        super().__init__()
        self.model = nn.ModuleDict(dict(backbone=backbone, head=nn.Conv2d(6, 4, 1)))

    def forward(self, x, boxes):
        return self.model['head'](self.model['backbone'](x)) + boxes


def test_of_a_model_that_takes_more_than_an_image_the_part_with_1_bit_convolutions_is_run():
    net = TakesBoxes(Wired(crossed)).eval()
    pairs = [(name, norm) for name, _, norm in conv_norm_pairs(net)]
    backbone = net.model['backbone']
    assert pairs == [('model.backbone.conv1', backbone.bn2), ('model.backbone.conv2', backbone.bn1)]


def test_a_model_of_which_no_part_runs_is_refused():
    net = nn.ModuleList([TakesBoxes(Wired(crossed)), TakesBoxes(Wired(crossed))])
    with pytest.raises(InputError, match='ModuleList does not run on an input of shape'):
        absorb_scales(net)


@pytest.mark.parametrize(
    ('spoil', 'sentence'),
    [
        (lambda net: setattr(net[2], 'binary_weight', False), "'2' still has real weights"),
        (lambda net: net[2].weight.data[0].zero_(), "BatchNorm behind '2' has no affine parameters"),
    ],
)
def test_what_cannot_be_absorbed_is_refused_before_anything_changes(spoil, sentence):
    net = network()
    net[3] = nn.BatchNorm2d(6, affine=False).double().eval()
    spoil(net)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(InputError, match=sentence):
        absorb_scales(net)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize('name', ['retinanet_bireal_r18_fpn_1x_coco', 'faster_rcnn_bireal_r18_fpn_1x_coco'])
def test_in_a_detector_every_convolution_of_the_backbone_has_its_norm(name):
    """One that runs on an image alone, and one that does not."""
    pytest.importorskip('mmdet', reason='mmdet, of the extra det, is not installed')
    config = load_config(f'detection/{name}')
    config.model.backbone.pop('init_cfg')
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        net = MODELS.build(config.model)
    pairs = {name: norm for name, _, norm in conv_norm_pairs(net)}
    modules = dict(net.named_modules())
    assert len(pairs) == 16
    assert all(norm is modules[name.replace('conv', 'bn')] for name, norm in pairs.items())
