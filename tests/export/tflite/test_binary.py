"""1-bit layers in the released Larq interpreter: integers against integers."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite.binary import packed_filter
from bireal_plugin.export.tflite.engine import TFLiteSession, convert, export_tflite
from bireal_plugin.export.tflite.larq_process import larq_python
from bireal_plugin.folding.fold import fold
from tests.export.real_layers import AllOfOneInput

TINY = torch.finfo(torch.float32).smallest_normal


def interpreter_is_missing():
    try:
        larq_python()
    except InputError as error:
        return str(error)
    return ''


needs_larq = pytest.mark.skipif(bool(interpreter_is_missing()), reason=interpreter_is_missing() or 'present')


def inputs(*shape):
    """Numbers of all sizes with exact zeros of both signs, and the smallest normal numbers there are."""
    x = torch.randn(shape)
    x[x.abs() < 0.3] = 0.0
    for i, value in enumerate((-0.0, -TINY, TINY)):
        x.view(-1)[i :: 7 + 2 * i] = value
    return x


def layer(in_channels, out_channels, kernel, **geometry):
    """A layer whose affine map is the identity, so that its outputs are integers."""
    return BinaryConv2d(in_channels, out_channels, kernel, bias=False, weight='Sign', **geometry)


def expected(conv, x):
    """The convolution of the signs, in float64."""
    signs, weight = (torch.where(value.detach().double() < 0, -1.0, 1.0).double() for value in (x, conv.weight))
    return F.conv2d(signs, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups).float().numpy()


def run(net, x, folder, **options):
    path = export_tflite(net, folder / 'net.tflite', x.shape)
    with TFLiteSession(path, threads=1, **options) as session:
        return session(x)


def check(layers, x, folder, **options):
    net = nn.Sequential(*layers)
    for conv, got in zip(layers, run(fold(AllOfOneInput(net), x.shape), x, folder, **options), strict=True):
        want = expected(conv, x)
        assert got.shape == want.shape, conv
        assert np.array_equal(got, want), conv


@st.composite
def grids(draw):
    """A batch size, an image size and a list of layers that fit it."""
    batch, in_channels = draw(st.integers(1, 3)), draw(st.sampled_from([1, 3, 20, 31, 32, 33, 64, 96, 130]))
    size = draw(st.sampled_from([(13, 10), (8, 15), (16, 16), (7, 6), (5, 5), (3, 4), (2, 2), (1, 1), (9, 2)]))
    layers = []
    for _ in range(12):
        kernel = draw(st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (2, 2), (1, 3), (4, 3)]))
        dilation = draw(st.sampled_from([1, 1, 2, 3]))
        half = tuple(dilation * (k - 1) // 2 for k in kernel)
        padding = draw(st.sampled_from([half, half, (0, 0), (1, 1), (3, 3), (0, 1)]))
        stride = draw(st.sampled_from([1, 2, 3, (1, 2)]))
        out_channels = draw(st.sampled_from([1, 7, 17, 32]))
        if all(s + 2 * p > dilation * (k - 1) for s, p, k in zip(size, padding, kernel, strict=True)):
            layers.append((out_channels, kernel, dict(stride=stride, padding=padding, dilation=dilation)))
    return batch, in_channels, size, layers


@needs_larq
@pytest.mark.parametrize('kernel', ['indirect', 'bgemm'])
@settings(deadline=None, max_examples=6, derandomize=True, phases=[Phase.generate])
@given(grid=grids())
def test_every_geometry_is_exact(grid, kernel, tmp_path_factory):
    batch, in_channels, size, cells = grid
    torch.manual_seed(0)
    layers = [layer(in_channels, out, kernel_size, **geometry) for out, kernel_size, geometry in cells]
    if layers:
        check(layers, inputs(batch, in_channels, *size), tmp_path_factory.mktemp('grid'), kernel=kernel)


@needs_larq
@pytest.mark.parametrize('size', [(14, 14), (13, 13), (2, 2), (1, 3)])
def test_the_networks_own_layers_are_exact(size, tmp_path):
    """3x3 and 1x1 with the strides and dilations of the trunk, even, odd and smallest sizes."""
    torch.manual_seed(0)
    cells = [(3, s, d) for s in (1, 2) for d in (1, 2, 4)] + [(1, 1, 1), (1, 2, 1)]
    layers = [layer(64, 128, k, stride=s, padding=d * (k // 2), dilation=d) for k, s, d in cells]
    check(layers, inputs(1, 64, *size), tmp_path)


@needs_larq
@pytest.mark.parametrize('groups', [2, 3, 6, 66])
def test_groups_are_exact(groups, tmp_path):
    torch.manual_seed(0)
    layers = [layer(66, 132, 3, stride=s, padding=1, groups=groups) for s in (1, 2)]
    check(layers, inputs(2, 66, 8, 7), tmp_path)


@needs_larq
@pytest.mark.parametrize(
    ('value', 'sign'), [(-0.0, 1), (0.0, 1), (-TINY, -1), (TINY, 1), (-TINY / 2, 1), (TINY / 2, 1)]
)
def test_the_sign_of_the_smallest_numbers(value, sign, tmp_path):
    """Zeros are +1, and so is what is smaller than a normal number: TFLite computes without denormals."""
    conv = layer(8, 4, 1)
    nn.init.ones_(conv.weight)
    net = fold(nn.Sequential(conv), (1, 8, 3, 3))
    assert np.all(run(net, torch.full((1, 8, 3, 3), value), tmp_path)[0] == 8 * sign)


@needs_larq
def test_negative_and_zero_multipliers_and_biases_are_the_affine_map(tmp_path):
    torch.manual_seed(0)
    convs = [layer(32, 6, 3, stride=stride, padding=padding) for stride, padding in [(1, 1), (2, 1), (2, 2)]]
    scale = torch.tensor([0.0, -0.0, -1.5, 2.0, 1e-3, -1.0])
    bias = torch.tensor([0.0, -0.0, 3.0, -0.25, 1.0, 0.0])
    net = fold(AllOfOneInput(convs), (1, 32, 8, 8))
    for folded in net.layers:
        folded.scale.copy_(scale)
        folded.bias.copy_(bias)
    x = inputs(1, 32, 8, 8)
    for conv, got in zip(convs, run(net, x, tmp_path), strict=True):
        want = expected(conv, x).astype(np.float64) * scale.view(-1, 1, 1).numpy() + bias.view(-1, 1, 1).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-5)
        # What leaves as -0.0 would be a -1 to the next layer on ARM.
        assert not np.any(np.signbit(got) & (got == 0))


@pytest.mark.parametrize('channels', [1, 7, 32, 33, 70])
def test_filters_have_one_for_minus_lowest_bit_first_and_zeros_behind(channels):
    signs = np.where(np.random.default_rng(0).random((3, 2, 2, channels)) < 0.5, -1.0, 1.0)
    packed = packed_filter(signs)
    assert packed.dtype == np.int32
    assert packed.shape == (3, 2, 2, -(-channels // 32))
    for channel in range(32 * packed.shape[3]):
        bit = packed[..., channel // 32].astype(np.int64) >> (channel % 32) & 1
        assert np.array_equal(bit, signs[..., channel] < 0 if channel < channels else np.zeros((3, 2, 2)))


def kinds(net, *shape):
    return [operator.kind for operator in convert(net, shape).operators]


@pytest.mark.parametrize(
    ('size', 'geometry', 'form'),
    [
        (8, dict(padding=1), ['LceBconv2d']),
        (9, dict(stride=2, padding=1), ['LceBconv2d']),
        (8, dict(stride=2, padding=1), ['PAD', 'LceBconv2d', 'SLICE']),
        (8, dict(stride=2), ['LceBconv2d']),
        (2, dict(padding=1), ['PAD', 'LceBconv2d', 'ADD', 'MUL', 'ADD']),
        (8, dict(padding=2), ['PAD', 'LceBconv2d', 'GATHER', 'GATHER', 'ADD', 'MUL', 'ADD']),
    ],
)
def test_the_smallest_exact_form_is_taken(size, geometry, form):
    net = fold(nn.Sequential(layer(32, 8, 3, **geometry)), (1, 32, size, size))
    assert kinds(net, 1, 32, size, size) == ['ADD', 'LceQuantize', *form]


def test_negative_zeros_are_taken_away_only_where_there_can_be_some():
    """LceQuantize on ARM looks at the sign bit; a sum with a layer's output is never -0.0, a product may be."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (layer(8, 8, 3, padding=1) for _ in range(3))

        def forward(self, x):
            x = self.a(x) + x
            x = self.b(x) * x
            return self.c(x)

    assert kinds(fold(Net(), (1, 8, 6, 6)), 1, 8, 6, 6) == [
        *('ADD', 'LceQuantize', 'LceBconv2d', 'ADD'),
        *('LceQuantize', 'LceBconv2d', 'MUL'),
        *('ADD', 'LceQuantize', 'LceBconv2d'),
    ]


def test_layers_with_the_same_input_share_its_signs():
    net = fold(AllOfOneInput([layer(8, 8, 3), layer(8, 8, 1)]), (1, 8, 6, 6))
    assert kinds(net, 1, 8, 6, 6).count('LceQuantize') == 1
