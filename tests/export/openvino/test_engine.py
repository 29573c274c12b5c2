import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import ChildSession
from bireal_plugin.folding.fold import fold
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.folding.test_fold import trained

pytest.importorskip('openvino')
from bireal_plugin.export.openvino import engine as openvino_engine
from bireal_plugin.export.openvino import file as openvino_file
from bireal_plugin.export.openvino.engine import OpenVINOSession, convert, export_openvino


def layer(in_channels, out_channels, kernel, **geometry):
    """A folded layer whose affine map is the identity, so that its outputs are integers."""
    torch.manual_seed(0)
    conv = BinaryConv2d(in_channels, out_channels, kernel, bias=False, weight='Sign', **geometry)
    return fold(nn.Sequential(conv))


def inputs(*shape):
    """Normal numbers with exact zeros of both signs, and the smallest numbers there are."""
    x = torch.randn(shape)
    x[x.abs() < 0.3] = 0.0
    x.view(-1)[::7] = -0.0
    x.view(-1)[1::11] = -torch.finfo(torch.float32).tiny
    x.view(-1)[2::11] = torch.finfo(torch.float32).tiny
    return x


def operators(session, shape):
    graph = session.compile(shape).get_runtime_model()
    infos = [node.get_rt_info() for node in graph.get_ops()]
    return [info['layerType'].astype(str) for info in infos if 'onvolution' in info['layerType'].astype(str)]


class SideBySide(nn.Module):
    """Layers that all see the same input, so that one conversion serves a grid of them."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return [layer(x) for layer in self.layers]


GEOMETRY = list(itertools.product([17, 64], [1, 3], [1, 2], [1, 2]))


@pytest.mark.parametrize('size', [(13, 10), (8, 15)])
@pytest.mark.parametrize('in_channels', [32, 64, 96, 256])
def test_popcount_layers_are_exact(in_channels, size):
    """Every combination of output channels, kernel, stride and dilation; odd sizes; zeros of both signs."""
    net = SideBySide(
        layer(in_channels, out, kernel, stride=stride, dilation=dilation, padding=dilation * (kernel // 2))
        for out, kernel, stride, dilation in GEOMETRY
    )
    x = inputs(2, in_channels, *size)
    session = OpenVINOSession(convert(net, x.shape), threads=1)
    assert operators(session, tuple(x.shape)) == ['BinaryConvolution'] * len(GEOMETRY)
    for geometry, got, want in zip(GEOMETRY, session(x), net(x), strict=True):
        assert np.array_equal(got, want.numpy()), geometry


@pytest.mark.parametrize('in_channels', [2, 16, 20, 40, 90])
def test_even_channels_are_filled_up_to_run_by_popcount_and_are_exact(in_channels):
    net = layer(in_channels, 24, 3, stride=2, padding=1)
    x = inputs(2, in_channels, 13, 10)
    session = OpenVINOSession(convert(net, x.shape), threads=1)
    assert operators(session, tuple(x.shape)) == ['BinaryConvolution']
    assert np.array_equal(session(x)[0], net(x).numpy())


@pytest.mark.parametrize(('in_channels', 'out_channels', 'groups'), [(3, 17, 1), (64, 64, 2), (33, 8, 1), (12, 12, 12)])
def test_layers_that_popcount_gets_wrong_take_the_real_form_and_are_exact(in_channels, out_channels, groups):
    net = layer(in_channels, out_channels, 3, padding=1, groups=groups)
    x = inputs(2, in_channels, 13, 10)
    session = OpenVINOSession(convert(net, x.shape), threads=1)
    assert 'BinaryConvolution' not in operators(session, tuple(x.shape))
    assert np.array_equal(session(x)[0], net(x).numpy())


GEOMETRIES = st.fixed_dictionaries(
    dict(
        out_channels=st.integers(1, 40),
        kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
        stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    )
)


# A failing layer is small enough as it is: shrinking it would convert thousands of them.
@settings(deadline=None, max_examples=8, derandomize=True, phases=[Phase.generate])
@given(
    in_channels=st.sampled_from([2, 20, 32, 33, 64, 70]),
    geometries=st.lists(GEOMETRIES, min_size=8, max_size=8),
    size=st.tuples(st.integers(9, 17), st.integers(9, 40)),
    batch=st.integers(1, 3),
)
def test_any_layer_is_exact(in_channels, geometries, size, batch):
    net = SideBySide(layer(in_channels, **geometry) for geometry in geometries)
    x = inputs(batch, in_channels, *size)
    for geometry, got, want in zip(
        geometries, OpenVINOSession(convert(net, x.shape), threads=1)(x), net(x), strict=True
    ):
        assert np.array_equal(got, want.numpy()), geometry


@pytest.mark.parametrize(('kernel', 'padding'), [(7, 3), (3, 0), ((1, 3), (0, 1))])
def test_other_kernels_are_exact(kernel, padding):
    net = layer(64, 32, kernel, padding=padding)
    x = inputs(1, 64, 15, 9)
    assert np.array_equal(OpenVINOSession(convert(net, x.shape), threads=1)(x)[0], net(x).numpy())


class Residual(nn.Module):
    """Two layers with an addition before the second sign, whose sum nothing else reads."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layer(32, 32, 3, padding=1), layer(32, 32, 1)

    def forward(self, x):
        return self.second(self.first(x) + x)


def test_a_sign_behind_an_addition_is_exact():
    x = inputs(1, 32, 9, 9)
    assert np.array_equal(OpenVINOSession(convert(Residual(), x.shape), threads=1)(x)[0], Residual()(x).numpy())


class Affine(nn.Module):
    """A sign of multiples of 1/8 after a shift of RSign, or of ABC-Net's bases: many sums are exactly 0."""

    def __init__(self, bases):
        super().__init__()
        self.bases, self.layer = bases, layer(32, 16, 1)
        self.shift = nn.Parameter(torch.randint(-3, 4, (32, 1, 1)) / 4, requires_grad=False)

    def forward(self, x):
        x = x + self.shift
        return self.layer(2 * x - 1 if self.bases else x)


@pytest.mark.parametrize('bases', [False, True])
def test_ties_behind_a_shift_are_exact(bases):
    net, x = Affine(bases), torch.randint(-6, 7, (1, 32, 9, 9)) / 8
    assert np.array_equal(OpenVINOSession(convert(net, x.shape), threads=1)(x)[0], net(x).numpy())


@pytest.mark.parametrize(
    ('scale', 'bias'), [(1, 0), (-0.5, 0), (0.1, 0.2), (0.1, -0.4), (3e38, 0), (0, -0.0), (1e-3, -4e-3)]
)
def test_ties_behind_a_layers_affine_map_are_exact(scale, bias):
    net = nn.Sequential(layer(32, 32, 3, padding=1), layer(32, 16, 1))
    net[0][0].scale.fill_(scale)
    net[0][0].bias.fill_(bias)
    x = inputs(1, 32, 9, 9)
    assert np.array_equal(OpenVINOSession(convert(net, x.shape), threads=1)(x)[0], net(x).numpy())


@pytest.mark.parametrize('structure', ['bireal', 'resnet', 'plain'])
def test_every_stage_of_a_bottleneck_network_agrees(structure):
    net = fold(trained(BiRealResNet(50, base_channels=32, structure=structure)))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = net(x)
    for got, want in zip(OpenVINOSession(convert(net, x.shape), threads=1)(x), wanted, strict=True):
        # Rounding may flip a few signs; a wrong layer moves a fifth of the norm.
        assert np.linalg.norm(got - want.numpy()) < 0.02 * np.linalg.norm(want.numpy())


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    net = fold(trained(BiRealClassifier(BiRealResNet(18, base_channels=32, out_indices=(3,)), 10)))
    path = export_openvino(net, tmp_path_factory.mktemp('openvino') / 'net.xml', (1, 3, 64, 64))
    return net, path


def test_a_saved_network_runs_at_other_shapes_than_it_was_exported_with(exported):
    net, path = exported
    session = OpenVINOSession(path, threads=1)
    for shape in ((1, 3, 64, 64), (2, 3, 64, 64), (1, 3, 97, 66)):
        x = torch.randn(shape)
        torch.testing.assert_close(torch.from_numpy(session(x)[0]), net(x), rtol=1e-3, atol=1e-3)
    assert len(session.compiled) == 3


def test_the_compiled_models_of_few_sizes_are_kept_and_the_last_used_last(exported, monkeypatch):
    monkeypatch.setattr(openvino_engine, 'SHAPES', 2)
    net, path = exported
    session = OpenVINOSession(path, threads=1)
    shapes = [(1, 3, size, 32) for size in (32, 64, 96)]
    for which in (0, 1, 0, 2):
        x = torch.randn(shapes[which])
        torch.testing.assert_close(torch.from_numpy(session(x)[0]), net(x), rtol=1e-3, atol=1e-3)
    assert list(session.compiled) == [(shapes[0],), (shapes[2],)]
    session.close()
    assert not session.compiled


def test_a_plain_compile_of_the_file_computes_in_float32(exported):
    """On a CPU that prefers bfloat16 too; the session in bf16 still computes in it."""
    _, path = exported
    x = torch.randn(1, 3, 64, 64)
    core = openvino_engine.core()
    plain, told = (core.compile_model(str(path), 'CPU', hint) for hint in ({}, {'INFERENCE_PRECISION_HINT': 'f32'}))
    assert np.array_equal(plain(x.numpy())[0], told(x.numpy())[0])
    precisions = {}
    for real_layers, compiled in (('f32', plain), ('bf16', OpenVINOSession(path, real_layers='bf16').compile(x.shape))):
        infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
        precisions[real_layers] = {
            info['runtimePrecision'].astype(str) for info in infos if info['layerType'].astype(str) == 'Convolution'
        }
    capable = openvino_engine.computes_in_bf16()
    assert precisions == dict(f32={'f32'}, bf16={'bf16' if capable else 'f32'})


class Head(nn.Module):
    """Linear layers behind a 1-bit one: on rows of pixels, and on the mean of two pools, which is a factor of 0.5."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = BinaryConv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.first, self.second, self.last = nn.Linear(8, 5), nn.Linear(5, 8, bias=False), nn.Linear(8, 3)

    def forward(self, x):
        y = self.norm(self.conv(x)).permute(0, 2, 3, 1)
        y = self.second(self.first(y).relu()).permute(0, 3, 1, 2)
        pooled = 0.5 * (y.mean((2, 3), keepdim=True) + y.amax((2, 3), keepdim=True))
        return self.last(pooled.flatten(1))


def test_linear_layers_on_maps_and_behind_factors_compute_in_float32_too(tmp_path):
    net, x = fold(trained(Head()), (2, 8, 12, 10)), torch.randn(2, 8, 12, 10)
    path = export_openvino(net, tmp_path / 'net.xml', x.shape)
    plain = openvino_engine.core().compile_model(str(path), 'CPU')
    torch.testing.assert_close(torch.from_numpy(plain(x.numpy())[0]), net(x), rtol=1e-5, atol=1e-5)
    other = torch.randn(3, 8, 7, 9)
    torch.testing.assert_close(torch.from_numpy(OpenVINOSession(path)(other)[0]), net(other), rtol=1e-5, atol=1e-5)


def test_a_file_that_is_read_and_written_again_has_the_same_marks(exported, tmp_path):
    _, path = exported
    target = tmp_path / path.name
    assert OpenVINOSession.write_tapped(path, target, lambda pairs: []) == 0
    marks = [file.read_bytes().count(openvino_file.MARK) for file in (path, target)]
    assert marks[0] == marks[1] == path.read_bytes().count(b'<layer ')


class Blocks(nn.Module):
    """Two residual blocks of a 1-bit layer and a norm."""

    def __init__(self, norm):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.convs = nn.ModuleList(BinaryConv2d(32, 32, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(norm() for _ in range(2))

    def forward(self, x):
        x = self.stem(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = x + norm(conv(x))
        return x


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


NORMS = {
    'group': lambda: nn.GroupNorm(4, 32),
    'group, one': lambda: nn.GroupNorm(1, 32),
    'group, without affine map': lambda: nn.GroupNorm(8, 32, affine=False),
    'instance': lambda: nn.InstanceNorm2d(32, affine=True),
    'layer': lambda: nn.LayerNorm([32, 10, 12]),
    'channels': lambda: ChannelNorm(32),
    'root mean square': lambda: nn.RMSNorm([32, 10, 12]),
    'local response': lambda: nn.LocalResponseNorm(3),
    'batch, of the batch': lambda: nn.BatchNorm2d(32, track_running_stats=False),
    'batch, behind an activation': lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(32)),
}


class Between(nn.Module):
    """An operation between two convolutions."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation
        self.before, self.after = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, x):
        return self.after(self.operation(self.before(x)))


OPERATIONS = {
    'resizing to a scale': nn.Upsample(scale_factor=2, mode='bilinear'),
    'resizing to a size': nn.Upsample((40, 37), mode='bilinear', align_corners=True),
    'nearest': nn.Upsample(scale_factor=2),
    'padding': nn.ReflectionPad2d(2),
    'max pool': nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    'average pool': nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
    'softmax': nn.Softmax(1),
    'group norm': nn.GroupNorm(4, 16),
    'classifier': nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 144), nn.Unflatten(1, (16, 3, 3))),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_operators_are_right_and_of_a_kind_that_keeps_its_precision(name, tmp_path):
    torch.manual_seed(0)
    net, x = Between(OPERATIONS[name]).eval(), torch.randn(1, 3, 14, 18)
    path = export_openvino(net, tmp_path / 'net.xml', x.shape)
    compiled = openvino_engine.core().compile_model(str(path), 'CPU')
    with torch.no_grad():
        np.testing.assert_allclose(compiled(x.numpy())[0], net(x).numpy(), rtol=1e-4, atol=1e-4)
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    assert {info['runtimePrecision'].astype(str) for info in infos} <= {'f32', 'i32', 'i64'}


@pytest.mark.parametrize('name', NORMS)
def test_norms_that_are_not_folded_run(name, tmp_path):
    """In a process of its own: OpenVINO 2026.4 crashes where it adds a shortcut to its own GroupNormalization."""
    torch.manual_seed(0)
    net = fold(Blocks(NORMS[name]).eval(), (1, 3, 10, 12))
    for parameter in net.parameters():
        if parameter.dim() == 1:
            parameter.data.normal_()
    x = torch.randn(2, 3, 10, 12)
    path = export_openvino(net, tmp_path / 'net.xml', x.shape)
    with torch.no_grad():
        want = net(x).numpy()
    np.testing.assert_allclose(ChildSession(OpenVINOSession, path, threads=1)(x)[0], want, rtol=1e-4, atol=1e-4)


CONVERSION = """
import os, sys
from torch import nn

def told(event, details):
    if event in ('os.fork', 'socket.connect', 'socket.getaddrinfo'):
        os.write(1, f'{event} '.encode())

sys.addaudithook(told)
assert 'openvino' not in sys.modules
from bireal_plugin.export.openvino.engine import convert
convert(nn.ReLU(), (1, 3, 4, 4))
"""


def test_a_conversion_forks_no_process_and_asks_nobody_in_the_network():
    """As OpenVINO's telemetry does, from a thread; in a new Python, which has not imported OpenVINO."""
    ended = subprocess.run([sys.executable, '-c', CONVERSION], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, ''), ended.stderr


def test_a_group_norm_takes_other_sizes_too(tmp_path):
    """Not 7 x 9: without AVX-512 OpenVINO 2026.4 crashes where the elements of a group are no multiple of 8."""
    net = fold(Blocks(NORMS['group']).eval(), (1, 3, 10, 12))
    session = ChildSession(OpenVINOSession, export_openvino(net, tmp_path / 'net.xml', (1, 3, 10, 12)), threads=1)
    x = torch.randn(3, 3, 8, 16)
    with torch.no_grad():
        np.testing.assert_allclose(session(x)[0], net(x).numpy(), rtol=1e-4, atol=1e-4)


def test_all_sixteen_binary_layers_run_by_popcount(exported):
    session = OpenVINOSession(exported[1], threads=1)
    session(torch.randn(1, 3, 64, 64))
    assert operators(session, (1, 3, 64, 64)).count('BinaryConvolution') == 16


def test_a_backbone_has_all_its_outputs(tmp_path):
    net = fold(trained(BiRealResNet(50, base_channels=32)))
    path = export_openvino(net, tmp_path / 'net.xml', (1, 3, 64, 64))
    x = torch.randn(1, 3, 64, 64)
    outputs = OpenVINOSession(path, threads=1)(x)
    assert [o.shape for o in outputs] == [tuple(o.shape) for o in net(x)]
    # One flipped sign would cascade through the depth; the first stage is near the input.
    torch.testing.assert_close(torch.from_numpy(outputs[0]), net(x)[0], rtol=1e-3, atol=1e-3)


def test_the_file_is_about_the_packed_size(exported):
    net, path = exported
    binary = sum(b.numel() for name, b in net.named_buffers() if name.endswith('packed_weight'))
    real = 4 * sum(p.numel() for p in net.parameters())
    assert path.with_suffix('.bin').stat().st_size < 1.05 * (binary + real) + 20_000


@pytest.mark.parametrize(
    ('options', 'sentence'), [({}, 'does not exist'), (dict(real_layers='f16'), 'in f32 or bf16, not in f16')]
)
def test_mistakes_are_told(options, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        OpenVINOSession(tmp_path / 'none.xml', **options)


def test_foreign_files_are_told(tmp_path):
    (tmp_path / 'net.xml').write_text('<net>')
    (tmp_path / 'net.bin').write_bytes(b'')
    with pytest.raises(InputError, match='no OpenVINO model that this package exported'):
        OpenVINOSession(tmp_path / 'net.xml')


def test_missing_weights_are_told(exported, tmp_path):
    shutil.copy(exported[1], tmp_path / 'net.xml')
    with pytest.raises(InputError, match=r'net\.bin does not exist'):
        OpenVINOSession(tmp_path / 'net.xml')


def test_another_version_is_told(exported, tmp_path):
    text = exported[1].read_text().replace('<format_version value="1" />', '<format_version value="2" />')
    (tmp_path / 'net.xml').write_text(text)
    shutil.copy(exported[1].with_suffix('.bin'), tmp_path / 'net.bin')
    with pytest.raises(InputError, match="format version '2'; this release reads 1"):
        OpenVINOSession(tmp_path / 'net.xml')


@pytest.mark.parametrize('suffix', ['.xml', '.bin'])
def test_hundreds_of_mutations_are_refused_before_the_engine_sees_them(exported, suffix, tmp_path):
    for kind in ('.xml', '.bin'):
        shutil.copy(exported[1].with_suffix(kind), tmp_path / f'net{kind}')
    target = tmp_path / f'net{suffix}'
    original = target.read_bytes()
    random = np.random.default_rng(0)
    for i in range(400):
        data = bytearray(original)
        place = int(random.integers(len(data)))
        if i % 2:
            data[place] ^= 1 << int(random.integers(8))
        else:
            del data[place : place + 1 + int(random.integers(50))]
        target.write_bytes(data)
        with pytest.raises(InputError, match=r'does not match|truncated|format version'):
            openvino_file.check(tmp_path / 'net.xml')


def test_what_the_file_was_given_comes_back(tmp_path):
    path = export_openvino(layer(32, 8, 1), tmp_path / 'net.xml', (1, 32, 4, 4), metadata=dict(config='{"a": "<é>"}'))
    assert OpenVINOSession(path).metadata['config'] == '{"a": "<é>"}'


def test_a_failed_export_leaves_the_old_file(exported, tmp_path):
    path = tmp_path / 'net.xml'
    export_openvino(layer(32, 8, 1), path, (1, 32, 4, 4))
    before = path.read_bytes()
    with pytest.raises(InputError, match='there are none'):
        export_openvino(layer(32, 8, 1), path, (1, 32, 4, 4), calibration=[])
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ['net.bin', 'net.xml']


def test_a_wrong_shape_is_told(exported):
    with pytest.raises(InputError, match=r'takes numbers of shape \(batch, 3, height, width\)'):
        OpenVINOSession(exported[1])(torch.randn(1, 4, 64, 64))
