import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, MagnitudeAware, WeightBases, XNORConv2d
from bireal_plugin.binary.switch import set_activation, set_weights
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales
from bireal_plugin.folding.fold import fold, fold_
from bireal_plugin.folding.layers import FoldedABCConv2d, FoldedBinaryConv2d, FoldedXNORConv2d
from bireal_plugin.models import BiRealClassifier, BiRealResNet


def trained(model, seed=0):
    """Statistics and affine parameters as training leaves them, with negative and zero gamma among them."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            if module.affine:
                nn.init.normal_(module.weight, 0.5, 1)
                nn.init.normal_(module.bias, 0, 0.5)
                module.weight.data[0] = 0.0
    return model.eval()


@pytest.mark.parametrize('per', ['channel', 'layer'])
@pytest.mark.parametrize('bias', [False, True])
def test_one_layer_is_batch_norm_of_the_scaled_convolution(per, bias):
    conv = BinaryConv2d(12, 8, 3, stride=2, padding=1, bias=bias, weight=dict(type='MagnitudeAware', per=per))
    net = trained(nn.Sequential(conv, nn.BatchNorm2d(8)).double())
    x = torch.randn(2, 12, 9, 9, dtype=torch.float64)
    folded = fold(net)
    assert isinstance(folded[0], FoldedBinaryConv2d)
    assert isinstance(folded[1], nn.Identity)
    torch.testing.assert_close(folded(x), net(x), rtol=1e-6, atol=1e-6)


def test_a_convolution_without_batch_norm_keeps_its_scale_and_bias():
    conv = BinaryConv2d(12, 8, 3).double()
    x = torch.randn(2, 12, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(fold(nn.Sequential(conv, nn.ReLU()))(x), conv(x).relu(), rtol=1e-6, atol=1e-6)


GEOMETRY = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, padding=1, stride=2, bias=False),
    dict(kernel_size=3, padding=2, dilation=2),
    dict(kernel_size=1, bias=False),
    dict(kernel_size=3, padding='same', groups=2),
    dict(kernel_size=(3, 5), padding=(0, 2), stride=(1, 2), groups=4, bias=False),
]


def image(*shape):
    """Normal numbers in float64, with exact zeros of both signs."""
    x = torch.randn(shape, dtype=torch.float64)
    x[x.abs() < 0.3] = 0.0
    x.view(-1)[::7] = -0.0
    return x


@pytest.mark.parametrize('norm', [True, False])
@pytest.mark.parametrize('weight', ['XNORWeight', 'Sign', dict(type='MagnitudeAware', per='layer')])
@pytest.mark.parametrize('geometry', GEOMETRY)
def test_xnor_layers_keep_k_and_fold_everything_else(geometry, weight, norm):
    torch.manual_seed(0)
    layers = [XNORConv2d(8, 12, weight=weight, **geometry), *([nn.BatchNorm2d(12)] if norm else [])]
    net = trained(nn.Sequential(*layers).double())
    x = image(2, 8, 9, 11)
    folded = fold(net)
    assert isinstance(folded[0], FoldedXNORConv2d)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded)
    torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('conv', [BinaryConv2d, XNORConv2d])
def test_layers_whose_scale_was_absorbed_before_fold_too(conv):
    torch.manual_seed(0)
    net = trained(nn.Sequential(conv(8, 12, 3, weight='XNORWeight'), nn.BatchNorm2d(12)).double())
    x = image(2, 8, 9, 11)
    expected = net(x)
    assert absorb_scales(net) == 1
    torch.testing.assert_close(fold(net)(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('norm', [True, False])
@pytest.mark.parametrize('options', [{}, dict(weight_bases=1, activation_bases=1), dict(weight_bases=2, per='channel')])
@pytest.mark.parametrize('geometry', GEOMETRY)
def test_abc_layers_are_sums_of_binary_convolutions(geometry, options, norm):
    torch.manual_seed(0)
    conv = ABCConv2d(8, 12, **options, **geometry)
    conv.shift.data += 0.1 * torch.randn_like(conv.shift)
    conv.scale.data -= 0.5 * torch.rand_like(conv.scale)
    net = trained(nn.Sequential(conv, *([nn.BatchNorm2d(12)] if norm else [])).double())
    x = image(2, 8, 9, 11)
    folded = fold(net)
    assert isinstance(folded[0], FoldedABCConv2d)
    torch.testing.assert_close(folded(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('bases', 'activations'), [(1, 1), (3, 2), (5, 4)])
def test_an_abc_layer_stores_each_weight_basis_once(bases, activations):
    conv = ABCConv2d(16, 8, 3, weight_bases=bases, activation_bases=activations)
    state = fold(nn.Sequential(conv)).state_dict()
    assert sum(value.numel() for name, value in state.items() if 'packed' in name) == bases * 8 * 9 * 2
    assert sum('shift' in name for name in state) == sum('beta' in name for name in state) == activations


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('structure', ['bireal', 'resnet', 'plain'])
def test_every_layer_of_a_network_folds_to_the_same_function(depth, structure):
    """Layer by layer on the unfolded network's own activations, since one flipped sign would cascade."""
    net = trained(BiRealResNet(depth, base_channels=8, structure=structure)).double()
    folded = dict(fold(net).named_modules())
    seen = {}
    modules = dict(net.named_modules())
    for name, module in modules.items():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: (i[0], o)}))
    net(torch.randn(1, 3, 64, 64, dtype=torch.float64))
    pairs = [(name, name.replace('conv', 'bn')) for name in seen if '.conv' in name] + [('conv1', 'bn1')]
    assert len(pairs) == {18: 17, 50: 49}[depth]
    for conv, norm in pairs:
        got = folded[conv](seen[conv][0])
        torch.testing.assert_close(got, seen[norm][1], rtol=1e-5, atol=1e-5)


OPTIONS = [
    {},
    dict(rsign=True, rprelu=True),
    dict(weight='Sign'),
    dict(conv='XNORConv2d'),
    dict(conv=dict(type='ABCConv2d', weight_bases=3, activation_bases=2)),
    dict(norm_cfg=dict(type='SyncBN')),
    dict(norm_cfg=dict(type='GN', num_groups=4)),
    dict(norm_cfg=dict(type='BN', affine=False)),
    dict(deep_stem=True, style='caffe', norm_eval=True, frozen_stages=2, with_cp=True),
]


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('depth', [18, 50])
def test_a_classifier_predicts_the_same(depth, options):
    model = trained(BiRealClassifier(BiRealResNet(depth, base_channels=8, out_indices=(3,), **options), 10)).double()
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fold(model)(x), model(x), rtol=1e-3, atol=1e-3)


def test_the_binary_operator_is_all_that_is_binary():
    folded = fold(BiRealResNet(18, base_channels=8).eval())
    assert not any(isinstance(m, (BinaryConv2d, nn.BatchNorm2d)) for m in folded.modules())
    assert sum(isinstance(m, FoldedBinaryConv2d) for m in folded.modules()) == 16


def test_the_model_itself_is_unchanged():
    net = BiRealResNet(18, base_channels=8)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fold(net)
    assert before.keys() == net.state_dict().keys()
    assert net.training


@pytest.mark.parametrize('conv', ['BinaryConv2d', 'XNORConv2d', 'ABCConv2d'])
def test_torch_export_keeps_the_operator_and_the_numbers(conv):
    net = trained(BiRealResNet(18, base_channels=8, num_stages=1, out_indices=(0,), conv=conv))
    folded, x = fold(net), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        program = torch.export.export(folded, (x,))
    calls = [node for node in program.graph.nodes if node.target is torch.ops.bireal.binary_conv2d.default]
    assert len(calls) == 4 * (9 if conv == 'ABCConv2d' else 1)
    # Every engine needs the weights and the affine map as constants.
    buffers = program.graph_signature.inputs_to_buffers
    assert all(operand.name in buffers for call in calls for operand in call.args[1:4])
    assert torch.equal(program.module()(x)[0], folded(x)[0])


@pytest.mark.parametrize('conv', [XNORConv2d, ABCConv2d])
@pytest.mark.parametrize('groups', [1, 2])
def test_openvino_runs_the_layers_of_xnor_and_abc_net(conv, groups):
    pytest.importorskip('openvino')
    from bireal_plugin.export.openvino.engine import OpenVINOSession, convert

    torch.manual_seed(0)
    folded = fold(trained(nn.Sequential(conv(64, 32, 3, padding=1, groups=groups), nn.BatchNorm2d(32))))
    x = torch.randn(1, 64, 9, 11)
    got = OpenVINOSession(convert(folded, x.shape), threads=1)(x)[0]
    torch.testing.assert_close(torch.from_numpy(got), folded(x).detach(), rtol=1e-4, atol=1e-4)


def test_a_folded_network_is_for_evaluation_alone():
    folded = fold(BiRealClassifier(BiRealResNet(18, base_channels=8, out_indices=(3,)), 10))
    assert not folded.training
    assert not any(parameter.requires_grad for parameter in folded.parameters())


@pytest.mark.parametrize('conv', [BinaryConv2d, XNORConv2d, ABCConv2d])
def test_a_backward_through_a_folded_layer_is_told_and_a_head_behind_it_trains(conv):
    net = fold(nn.Sequential(conv(4, 6, 3), nn.BatchNorm2d(6)), (1, 4, 8, 8))
    head = nn.Linear(6, 2)
    head(net(torch.randn(2, 4, 8, 8)).mean((2, 3))).sum().backward()
    assert head.weight.grad is not None
    with pytest.raises(InputError, match=r'a folded network has no backward.*torch\.no_grad\(\) or detach its input'):
        net(torch.randn(2, 4, 8, 8, requires_grad=True)).sum().backward()


@pytest.mark.parametrize('conv', [BinaryConv2d, XNORConv2d, ABCConv2d, nn.Conv2d])
@pytest.mark.parametrize('place', [0, 1])
@pytest.mark.parametrize('when', ['forward_pre_hook', 'forward_hook'])
def test_hooks_that_change_what_passes_still_do(conv, place, when):
    net = trained(nn.Sequential(conv(4, 6, 3), nn.BatchNorm2d(6), BinaryConv2d(6, 2, 1)))
    x = image(2, 4, 8, 8).float()
    without = net(x)
    hook = {'forward_pre_hook': lambda module, x: (x[0] - 0.3,), 'forward_hook': lambda module, x, y: 0.5 - y}[when]
    handle = getattr(net[place], f'register_{when}')(hook)
    folded = fold(net, x.shape)
    assert not torch.allclose(net(x), without, atol=0.1)
    torch.testing.assert_close(folded(x), net(x), rtol=1e-4, atol=1e-4)
    handle.remove()
    assert torch.equal(net(x), without)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize('conv', [BinaryConv2d, XNORConv2d, ABCConv2d])
def test_integer_images_raise_as_with_a_real_convolution(dtype, conv):
    net = fold(nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4)), (1, 3, 8, 8))
    with pytest.raises(RuntimeError, match='Input type'):
        net(torch.ones(1, 3, 8, 8).to(dtype))


@pytest.mark.parametrize('switch', [lambda net: set_activation(net, 'relu'), lambda net: set_weights(net, 'real')])
@pytest.mark.parametrize('conv', ['BinaryConv2d', 'XNORConv2d', 'ABCConv2d'])
def test_a_folded_network_is_not_switched(switch, conv):
    net = BiRealResNet(18, base_channels=4, num_stages=1, out_indices=(0,), conv=conv).eval()
    folded = fold(net, (1, 3, 32, 32))
    switch(net)
    with pytest.raises(
        InputError, match=r'layer1\.0\.\S+ is folded: its signs are fixed; switch the network before fold'
    ):
        switch(folded)


def test_a_convolution_alone_is_folded():
    conv = BinaryConv2d(8, 4, 3).double()
    x = image(1, 8, 5, 5)
    torch.testing.assert_close(fold(conv)(x), conv(x), rtol=1e-6, atol=1e-6)


def test_a_folded_network_is_left_as_it_is():
    folded = fold(BiRealResNet(18, base_channels=8))
    before = dict(folded.named_modules())
    assert all(module is before[name] for name, module in fold_(folded).named_modules())


@pytest.mark.parametrize('conv', ['BinaryConv2d', 'XNORConv2d', 'ABCConv2d'])
@pytest.mark.parametrize('strict', [True, False])
def test_latent_weights_are_not_loaded_into_a_folded_network(conv, strict):
    net = BiRealResNet(18, base_channels=8, conv=conv)
    with pytest.raises(
        InputError, match=r'layer1.0.conv1.weight is the latent weight of a network that was not folded'
    ):
        fold(net).load_state_dict(net.state_dict(), strict=strict)


class ScaledConv2d(BinaryConv2d):
    """Computes something else than a BinaryConv2d."""

    def forward(self, x):
        return 2 * super().forward(x)


class ThirdRoot(MagnitudeAware):
    """Its binary weight is not its scale times a sign."""

    def __call__(self, weight):
        return weight.abs().pow(1 / 3) * super().__call__(weight)


def altered(**attributes):
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), BinaryConv2d(4, 4, 3), nn.BatchNorm2d(4))
    for name, value in attributes.items():
        setattr(net[2], name, value)
    return net


@pytest.mark.parametrize(
    ('make', 'sentence'),
    [
        (lambda: BiRealResNet(18, base_channels=8, weights='real'), r'^layer1.0.conv1 is not binary yet \('),
        (lambda: BiRealResNet(18, base_channels=8, activation='clip'), '^layer1.0.conv1 is not binary yet'),
        (lambda: nn.Sequential(ScaledConv2d(4, 4, 1)), '^0 is a ScaledConv2d with a forward of its own'),
        (lambda: altered(weight_binarizer=ThirdRoot()), r'^2 has no folded form: its weights by Magn.*are not'),
        (lambda: altered(padding='same', kernel_size=(2, 2)), "^2 has no folded form: padding='same' needs an odd"),
        (lambda: altered(weight=nn.Parameter(torch.full((4, 4, 3, 3), torch.nan))), '^2 has weights that are NaN'),
        (lambda: altered(weight_binarizer=WeightBases(2)), r'^2 has no folded form: its weights by WeightBases\(2'),
    ],
)
def test_what_cannot_be_folded_is_told_and_untouched(make, sentence):
    net = make()
    before = dict(net.named_modules())
    with pytest.raises(InputError, match=sentence):
        fold_(net)
    assert all(module is before[name] for name, module in net.named_modules())
