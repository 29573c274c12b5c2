import itertools

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.fold import fold
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.export.test_fold import trained

pytest.importorskip('openvino')
from bireal_plugin.export.openvino import OpenVINOSession, convert, export_openvino


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


@pytest.mark.parametrize(
    ('in_channels', 'out_channels', 'groups'), [(20, 24, 1), (3, 17, 1), (16, 32, 1), (64, 64, 2), (33, 8, 1)]
)
def test_layers_that_popcount_gets_wrong_take_the_real_form_and_are_exact(in_channels, out_channels, groups):
    net = layer(in_channels, out_channels, 3, padding=1, groups=groups)
    x = inputs(2, in_channels, 13, 10)
    session = OpenVINOSession(convert(net, x.shape), threads=1)
    assert 'BinaryConvolution' not in operators(session, tuple(x.shape))
    assert np.array_equal(session(x)[0], net(x).numpy())


@pytest.mark.parametrize(('kernel', 'padding'), [(7, 3), (3, 0), ((1, 3), (0, 1))])
def test_other_kernels_are_exact(kernel, padding):
    net = layer(64, 32, kernel, padding=padding)
    x = inputs(1, 64, 15, 9)
    assert np.array_equal(OpenVINOSession(convert(net, x.shape), threads=1)(x)[0], net(x).numpy())


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
    ('call', 'sentence'),
    [
        (lambda path: OpenVINOSession(path / 'none.xml'), 'does not exist'),
        (lambda path: export_openvino(nn.Identity(), path / 'net.onnx', (1, 3, 8, 8)), 'written to a file .xml'),
    ],
)
def test_mistakes_are_told(call, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        call(tmp_path)


def test_a_broken_file_is_told(tmp_path):
    (tmp_path / 'net.xml').write_text('<net>')
    with pytest.raises(InputError, match='no readable OpenVINO model'):
        OpenVINOSession(tmp_path / 'net.xml')


def test_a_wrong_shape_is_told(exported):
    with pytest.raises(InputError, match=r'does not take inputs of shape \(1, 4, 64, 64\)'):
        OpenVINOSession(exported[1])(torch.randn(1, 4, 64, 64))
