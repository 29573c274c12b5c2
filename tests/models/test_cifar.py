"""Bi-Real-20, 32 and 56, ResNet's networks for CIFAR: counts, wiring, and the ResNets and weights that people have."""

import json

import pytest
import timm
import torch

from bireal_plugin import BiRealClassifier, BiRealResNet, InputError, binarize
from bireal_plugin.binary import binary_convolutions
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.cost import model_cost
from bireal_plugin.models.rewritten_checkpoint import convert_checkpoint
from tests.folding.test_fold import trained
from tests.models import naive
from tests.models.hosts import CifarResNet
from tests.models.test_resnet import randomised

DEPTHS = (20, 32, 56)
TRANSITIONS = ('conv', 'pad')
SHORTCUTS = {'option A': 'pad', 'option B': 'conv', 'downsample': 'conv'}


@pytest.mark.parametrize(('depth', 'millions'), [(20, 0.27), (32, 0.46), (56, 0.85)])
def test_parameters_are_those_of_resnets_table_6(depth, millions):
    model = timm.create_model(f'bireal_resnet{depth}', transition='pad')
    n = (depth - 2) // 6
    convolutions = 9 * (2 * n * 16**2 + 16 * 32 + (2 * n - 1) * 32**2 + 32 * 64 + (2 * n - 1) * 64**2)
    real = 9 * 3 * 16 + 2 * 16 + 2 * 2 * n * (16 + 32 + 64) + 65 * 10
    cost = model_cost(model)
    assert (cost.binary_parameters, cost.real_parameters) == (convolutions, real)
    assert round((convolutions + real) / 1e6, 2) == millions
    assert cost.shape == (3, 32, 32)


def test_a_transition_of_a_convolution_adds_it_and_its_norm():
    conv, pad = (model_cost(timm.create_model('bireal_resnet20', transition=kind)) for kind in TRANSITIONS)
    assert conv.real_parameters - pad.real_parameters == 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert conv.binary_parameters == pad.binary_parameters


@pytest.mark.parametrize('structure', ['bireal', 'resnet', 'plain'])
@pytest.mark.parametrize('transition', TRANSITIONS)
@pytest.mark.parametrize('depth', DEPTHS)
def test_wiring_equals_the_naive_formulation(depth, transition, structure):
    net = randomised(BiRealResNet(depth, transition=transition, structure=structure))
    x = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    expected = naive.basic_network(x, net.state_dict(), 3 * [(depth - 2) // 3], structure)
    assert [tuple(want.shape[1:]) for want in expected] == [(16, 32, 48), (32, 16, 24), (64, 8, 12)]
    for got, want in zip(net(x), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_a_padded_shortcut_rounds_odd_sizes_and_channels_up():
    net = BiRealResNet(50, base_channels=3, stem_channels=5, transition='pad').eval()
    assert [tuple(o.shape[1:]) for o in net(torch.randn(1, 3, 37, 51))] == [
        (12, 10, 13),
        (24, 5, 7),
        (48, 3, 4),
        (96, 2, 2),
    ]


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(transition='A'), "transition='A' is not one of 'conv', 'pad'"),
        (dict(num_stages=4), 'num_stages=4 must be 1 to 3 with depth=20'),
        (dict(out_indices=(3,)), r'out_indices=\(3,\) must name some of the stages 0 to 2'),
        (dict(transition='pad', stem_channels=64), "transition='pad' adds channels, and here 64 become 16; give"),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        BiRealResNet(20, **options)


def host(depth=20, **options):
    torch.manual_seed(0)
    return trained(CifarResNet(depth, **options))


def ours(state, depth, transition):
    net = timm.create_model(f'bireal_resnet{depth}', transition=transition).eval()
    report = load_weights(net, state, source='resnet.th', strict=True)
    assert report.complete
    return net


@pytest.mark.parametrize(('depth', 'shortcut'), [*((20, shortcut) for shortcut in SHORTCUTS), (56, 'option A')])
def test_binarize_makes_the_bi_real_network_of_the_same_weights(depth, shortcut):
    model = host(depth, shortcut=shortcut)
    twin = ours(model.state_dict(), depth, SHORTCUTS[shortcut])
    names = set(model.state_dict())
    report = binarize(model, shape=(3, 32, 32))
    assert set(model.state_dict()) == names
    assert len(report.binarized) == depth - 2
    assert report.after.memory_bits == model_cost(twin).memory_bits
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(x), twin(x), rtol=1e-4, atol=1e-4)


def test_a_functional_activation_of_the_stem_is_refused_with_the_line_to_change():
    model = host(stem='functional')
    modules = dict(model.named_modules())
    with pytest.raises(
        InputError, match=r"leave out what stands between 'bn1' and 'layer1\.0', or write it as nn\.ReLU"
    ):
        binarize(model, shape=(3, 32, 32))
    assert dict(model.named_modules()) == modules


@pytest.mark.parametrize('shortcut', SHORTCUTS)
def test_a_checkpoint_tells_its_network(shortcut, tmp_path):
    model = host(shortcut=shortcut)
    state = {f'module.{name}': value for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=state, best_prec1=91.7), tmp_path / 'resnet20.th')
    convert_checkpoint(str(tmp_path / 'resnet20.th'), tmp_path / 'ours.pth', to='timm')
    loaded = torch.load(tmp_path / 'ours.pth', weights_only=True)
    options = dict(depth=20, transition='pad') if shortcut == 'option A' else dict(depth=20)
    assert json.loads(loaded['meta']['options']) == options
    binarize(model, shape=(3, 32, 32))
    twin = ours(loaded['state_dict'], 20, SHORTCUTS[shortcut])
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(twin(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('transition', TRANSITIONS)
def test_biases_of_1_bit_convolutions_load(transition):
    net = trained(BiRealClassifier(BiRealResNet(20, transition=transition), 10))
    state = {name.removeprefix('backbone.'): value.clone() for name, value in net.state_dict().items()}
    for name, conv in binary_convolutions(net.backbone):
        bias = torch.randn(conv.out_channels)
        state[f'{name}.bias'] = bias
        state[name.replace('conv', 'bn') + '.running_mean'] += bias
    again = BiRealClassifier(BiRealResNet(20, transition=transition), 10).eval()
    load_weights(again, state, source='biased.pth', strict=True)
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(again(x), net(x), rtol=1e-4, atol=1e-4)
