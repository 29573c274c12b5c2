"""Networks, real layers and 1-bit layers as C, compiled and run here."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, LeakyClip, XNORConv2d
from bireal_plugin.binary.activation import RPReLU
from bireal_plugin.errors import InputError
from bireal_plugin.export.c import fusion
from bireal_plugin.export.c.engine import CSession, convert, export_c
from bireal_plugin.folding.fold import fold
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from bireal_plugin.shipping.compare import both_sides, compare_layers
from tests.export.c.compilers import needs_compiler
from tests.export.layer_grid import expected, folded_layers, geometries, with_edges
from tests.export.real_layers import COLOURS, REAL_LAYERS, AllOfOneInput, Function, Named, results
from tests.folding.test_fold import trained

IMAGE = (1, 3, 64, 64)


def classifier(depth, channels=8, num_stages=4, **options):
    torch.manual_seed(0)
    options |= dict(num_stages=num_stages, out_indices=(num_stages - 1,))
    net = trained(BiRealClassifier(BiRealResNet(depth, base_channels=channels, **options), 10))
    for name, value in net.named_parameters():
        if 'shift' in name or 'rprelu' in name:
            value.data.normal_()
    return fold(net, IMAGE)


def run(net, x, folder, **options):
    with CSession(export_c(net, folder / 'net.c', x.shape), **{'threads': 1, **options}) as session:
        return session(x)


@needs_compiler
@pytest.mark.parametrize(
    ('depth', 'options'),
    [
        (18, {}),
        (34, dict(structure='resnet')),
        (50, {}),
        (50, dict(structure='plain', deep_stem=True)),
        (18, dict(rsign=True, rprelu=True)),
        (50, dict(rsign=True, rprelu=True, style='caffe', num_stages=2)),
        (18, dict(stem='cifar', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))),
        (18, dict(conv='XNORConv2d', num_stages=2)),
        (18, dict(conv='ABCConv2d', num_stages=2)),
    ],
)
def test_a_network_gives_the_logits_of_torch(depth, options, tmp_path):
    net = classifier(depth, **options)
    x = torch.randn(2, *IMAGE[1:])
    (got,), want = run(net, x, tmp_path), net(x).numpy()
    assert got.shape == want.shape == (2, 10)
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


@needs_compiler
def test_a_backbone_has_all_its_outputs_in_torchs_layout(tmp_path):
    torch.manual_seed(0)
    net = fold(trained(BiRealResNet(18, base_channels=8)), (1, 3, 65, 47))
    x = torch.randn(2, 3, 65, 47)
    outputs, wanted = run(net, x, tmp_path), net(x)
    assert [output.shape for output in outputs] == [tuple(want.shape) for want in wanted]
    for got, want in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), atol=1e-4)


@needs_compiler
@settings(deadline=None, max_examples=4, derandomize=True, phases=[Phase.generate])
@given(layers=st.lists(geometries(), min_size=12, max_size=12), size=st.sampled_from([(9, 12), (7, 8), (16, 15)]))
def test_every_geometry_is_exact(layers, size, tmp_path_factory):
    torch.manual_seed(0)
    net = folded_layers(layers)
    x = with_edges(2, max(layer['in_channels'] for layer in layers), *size)
    outputs = run(net, x, tmp_path_factory.mktemp('grid'))
    for layer, got in zip(net.layers, outputs, strict=True):
        want = expected(layer[0], x[:, : layer[0].in_channels])
        assert np.array_equal(got, want), layer


def chain(random, channels):
    """Two or three 1-bit layers of any geometry, with whatever may stand between them."""
    layers = []
    for _ in range(random.integers(2, 4)):
        groups = int(random.choice([group for group in (1, 1, 2, 3) if channels % group == 0]))
        wanted = groups * int(random.choice([1, 3, 8, 16, 20, 33]))
        kernel, stride = int(random.choice([1, 3])), int(random.choice([1, 1, 2]))
        layers += [BinaryConv2d(channels, wanted, kernel, stride, kernel // 2, groups=groups)]
        layers += [nn.BatchNorm2d(wanted)] if random.random() < 0.7 else []
        between = [nn.PReLU(wanted), RPReLU(wanted), LeakyClip(), nn.MaxPool2d(2, 1), nn.ReLU6(), nn.Hardtanh()]
        layers += [between[i] for i in random.choice(6, random.integers(0, 3), replace=False)]
        channels = wanted
    return nn.Sequential(*layers)


@needs_compiler
@pytest.mark.parametrize('seed', range(3))
def test_chains_of_layers_are_the_same_bits(seed, tmp_path):
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    channels = int(random.choice([6, 12, 36, 48]))
    nets = [chain(random, channels) for _ in range(12)]
    x = with_edges(1, channels, 9, 11)
    net = fold(trained(AllOfOneInput(nets), seed), x.shape)
    for layers, got, want in zip(nets, run(net, x, tmp_path), net(x), strict=True):
        assert np.array_equal(got, want.numpy()), layers


class Blocks(nn.Module):
    """1-bit layers with all that may stand between them: what is stored, shared, shifted, added and activated."""

    def __init__(self, channels):
        super().__init__()
        layers = [BinaryConv2d(channels, channels, 3, padding=1, bias=False) for _ in range(5)]
        self.layers = nn.ModuleList(nn.Sequential(layer, nn.BatchNorm2d(channels)) for layer in layers)
        self.shifts = nn.ParameterList(torch.randn(channels, 1, 1) for _ in range(3))
        self.slope = nn.PReLU(channels)

    def forward(self, x):
        first, second, third, fourth, fifth = self.layers
        x = self.slope(first(x + self.shifts[0]) + x - self.shifts[1]) + self.shifts[2]
        y = second(x + self.shifts[1]) + third(x + self.shifts[2]) * 2
        z = fourth((y + self.shifts[0]) * 2 - 1).clamp(-3, 3) * x
        return [z - fifth(z + 0.25), y, x.abs() - y, (1 - z).relu()]


@needs_compiler
@pytest.mark.parametrize('channels', [5, 16, 40])
def test_what_stands_between_1_bit_layers_is_the_same_bits(channels, tmp_path):
    torch.manual_seed(0)
    net = fold(trained(Blocks(channels)), (1, channels, 6, 7))
    x = with_edges(2, channels, 6, 7)
    for got, want in zip(run(net, x, tmp_path), net(x), strict=True):
        assert np.array_equal(got, want.numpy())


@needs_compiler
@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('conv', [BinaryConv2d, XNORConv2d, ABCConv2d])
def test_layers_of_every_method_are_right_one_by_one(conv, groups, tmp_path):
    if conv is ABCConv2d and groups > 1:
        pytest.skip('ABC-Net has no groups')
    torch.manual_seed(0)
    layers = [conv(12, 16, 3, padding=1, groups=groups), nn.BatchNorm2d(16), nn.PReLU(16), conv(16, 8, 3, stride=2)]
    net, x = fold(trained(nn.Sequential(*layers)), (1, 12, 9, 10)), torch.randn(3, 12, 9, 10)
    path = export_c(net, tmp_path / 'net.c', (2, 12, 9, 10))
    found = compare_layers(net, [x.numpy()], CSession.tap(path, both_sides, threads=1))
    assert max(found.layer_share, found.real_share) < 1e-6
    assert found.flips == 0


@needs_compiler
@pytest.mark.parametrize(
    'pool',
    [
        dict(kernel_size=3, stride=2, padding=1),
        dict(kernel_size=2),
        dict(kernel_size=3, stride=1),
        dict(kernel_size=2, stride=(3, 2)),
        dict(kernel_size=(3, 2), stride=1, dilation=(2, 1)),
    ],
)
@pytest.mark.parametrize(('columns', 'bits'), [(5, 32), (7, 32), (5, 8)])
def test_a_convolution_and_a_pool_in_turns_give_the_same_bits(pool, columns, bits, tmp_path, monkeypatch):
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 20, (5, columns), stride=2, padding=(2, columns // 2)),
        nn.PReLU(20),
        nn.MaxPool2d(**pool),
        BinaryConv2d(20, 8, 3),
    ]
    x = torch.randn(2, 3, 45, 38)
    net = fold(trained(nn.Sequential(*layers)), x.shape)
    calibration = [x.numpy()] if bits == 8 else None
    taken, bands = [], []
    for size in (0, 15000, 2**18):
        monkeypatch.setattr(fusion, 'BAND', size)
        bands += [call.band for call in convert(net, x.shape, calibration).calls if call.kernel == 'max_pool']
        path = export_c(net, tmp_path / f'net{size}.c', x.shape, calibration=calibration)
        with CSession(path, threads=1) as session:
            taken.append(session(x)[0])
        found = compare_layers(net, [x.numpy()], CSession.tap(path, both_sides, threads=1))
        assert found.layer_share < 1e-6
    assert bands[0] == 1 < bands[1]
    assert bands[2] == 0  # of a map that stays in the cache as a whole
    assert np.array_equal(taken[0], taken[2])
    assert np.array_equal(taken[1], taken[2])


def kernels(net, *shape):
    return [call.kernel for call in convert(net, shape).calls]


def test_additions_shifts_and_activations_are_steps_of_the_kernels():
    """A ReActNet: every call but stem, pools and downsamples is a 1-bit convolution; no map is walked by itself."""
    found = kernels(classifier(18, rsign=True, rprelu=True), *IMAGE)
    # The stem is within the max pool.
    assert (found.count('binary_conv'), found.count('conv')) == (16, 4)
    assert set(found) == {'binary_conv', 'conv', 'conv_winograd', 'max_pool', 'average_pool'}


def test_floats_that_nobody_reads_are_not_stored():
    layers = [BinaryConv2d(8, 8, 3, padding=1, bias=False) for _ in range(3)]
    graph = convert(fold(nn.Sequential(*layers), (1, 8, 6, 6)), (1, 8, 6, 6))
    assert [(call.kernel, call.stored, call.signs is not None) for call in graph.calls] == [
        ('map', False, True),
        ('binary_conv', False, True),
        ('binary_conv', False, True),
        ('binary_conv', True, False),
    ]


def test_layers_with_the_same_input_share_its_signs():
    net = AllOfOneInput([BinaryConv2d(8, 8, 3, bias=False), BinaryConv2d(8, 4, 1, bias=False)])
    assert kernels(fold(net, (1, 8, 6, 6)), 1, 8, 6, 6) == ['map', 'binary_conv', 'binary_conv']


def test_what_depends_on_no_input_is_computed_at_export():
    graph = convert(Function(lambda x: x + (COLOURS.view(-1, 1, 1) * 2).exp()), (1, 6, 4, 4))
    ((step,),) = (call.steps for call in graph.calls)
    np.testing.assert_allclose(step.operand, np.exp(2 * COLOURS.numpy()), rtol=1e-6)


@pytest.fixture(scope='module', params=[(1, 13, 10), (2, 8, 7)], ids=str)
def real_layers(request, tmp_path_factory):
    return results(run, tmp_path_factory.mktemp('real'), *request.param)


@needs_compiler
@pytest.mark.parametrize('name', REAL_LAYERS)
def test_a_real_layer_gives_what_torch_does(name, real_layers):
    wanted, outputs = real_layers
    assert outputs[name].shape == tuple(wanted[name].shape)
    np.testing.assert_allclose(outputs[name], wanted[name].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('layer', 'sentence'),
    [
        (nn.GELU(), r'C has no form for aten.gelu.default of head \(GELU\)'),
        (nn.BatchNorm2d(4), r'no form for aten.*batch_norm.* of head \(BatchNorm2d\)'),
        (BinaryConv2d(4, 4, 3), r'head is a BinaryConv2d still; export the result of fold'),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), r'avg_pool2d.default of head \(AvgPool2d\): .*ceil_mode=True'),
        (nn.AvgPool2d(2, divisor_override=3), 'divisor_override'),
        (nn.AdaptiveAvgPool2d(3), r'adaptive average pool of \(8, 8\) to \(3, 3\)'),
        (nn.Upsample((9, 12)), 'not by a whole factor'),
        (nn.ELU(0.5), 'alpha=0.5'),
        (nn.CircularPad2d(1), "mode 'circular'"),
        (Function(lambda x: torch.add(x, x, alpha=2)), 'alpha=2'),
        (Function(lambda x: x * float('inf')), 'number inf'),
        (Function(lambda x: x * torch.tensor([1, 2, float('nan'), 4]).view(4, 1, 1)), 'NaN or infinite'),
        (Function(lambda x: x.flatten(0, 1)), r'a tensor of shape \(4, 8, 8\), which has no batch in front'),
        (Function(lambda x: torch.cat([x, x])), 'no batch in front'),
        (Function(lambda x: x.mean(0, keepdim=True)), 'mean over the images'),
        (Function(lambda x: x.double()), r'no form for aten.*to'),
        (Function(nn.functional.dropout), r'no form for aten.*dropout'),  # in training
        (Function(lambda x: (x, torch.ones(3))), 'does not depend on its input'),
    ],
)
def test_what_has_no_form_is_told_by_operator_and_module(layer, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        export_c(Named(layer).eval(), tmp_path / 'net.c', (1, 4, 8, 8))
    assert list(tmp_path.iterdir()) == []


def test_several_inputs_are_told(tmp_path):
    class Sum(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(InputError, match='several inputs, and a C file has one'):
        export_c(Sum(), tmp_path / 'net.c', [(1, 3, 4, 4)] * 2)


@needs_compiler
def test_the_same_output_twice_and_the_input_as_output(tmp_path):
    x = torch.randn(2, 2, 3, 4)
    first, second, third = run(Function(lambda x: ((y := x + 1), y, x)), x, tmp_path)
    assert np.array_equal(first, (x + 1).numpy())
    assert np.array_equal(second, first)
    assert np.array_equal(third, x.numpy())
