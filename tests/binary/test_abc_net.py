import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, WeightBases, set_activation, set_weights
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales, conv_norm_pairs
from bireal_plugin.training.optimizer import group_of
from tests.binary import naive_conv

GEOMETRY = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, padding=1, stride=2, bias=False),
    dict(kernel_size=3, padding=2, dilation=2),
    dict(kernel_size=1, groups=2, bias=False),
]
COUNTS = [(1, 1), (3, 3), (5, 2)]


def bases_of(w, m):
    """B_i = sign(W - mean(W) + u_i std(W)) with u_i = -1 + (i - 1) 2 / (M - 1), and alpha = argmin |W - B alpha|^2."""
    u = [-1 + i * 2 / (m - 1) for i in range(m)] if m > 1 else [0.0]
    bases = np.stack([naive_conv.sign(w - w.mean() + shift * w.std()) for shift in u])
    alpha = np.linalg.lstsq(bases.reshape(m, -1).T, w.reshape(-1), rcond=None)[0]
    return bases, alpha


def paper(x, w, bias, shift, scale, m, geometry):
    """sum_ij alpha_i beta_j conv(B_i, A_j), one binary convolution after another."""
    bases, alpha = bases_of(w, m)
    y = 0
    for v, beta in zip(shift, scale, strict=True):
        a = np.where(np.clip(x + v, 0, 1) >= 0.5, 1.0, -1.0)
        for i in range(m):
            y = y + alpha[i] * beta * naive_conv.conv2d(a, bases[i], **geometry)
    return y if bias is None else y + bias[:, None, None]


def scattered(conv):
    """Shifts and scales as training leaves them, away from the grid they start on."""
    conv.shift.data += 0.1 * torch.randn_like(conv.shift)
    conv.scale.data += 0.1 * torch.randn_like(conv.scale)
    return conv


@pytest.mark.parametrize('counts', COUNTS)
@pytest.mark.parametrize('options', GEOMETRY)
@pytest.mark.parametrize('prepare', [scattered, lambda conv: conv], ids=['trained', 'initial'])
def test_forward_is_the_papers_sum_of_binary_convolutions_in_numpy(options, counts, prepare):
    torch.manual_seed(0)
    m, n = counts
    conv = prepare(ABCConv2d(8, 6, weight_bases=m, activation_bases=n, dtype=torch.float64, **options))
    conv.weight.data.view(-1)[::13] = 0.0
    x = naive_conv.with_zeros(np.random.default_rng(0), 2, 8, 9, 10)
    geometry = {key: value for key, value in options.items() if key not in ('kernel_size', 'bias')}
    w, shift, scale = (p.detach().numpy() for p in (conv.weight, conv.shift, conv.scale))
    bias = None if conv.bias is None else conv.bias.detach().numpy()
    expected = paper(x, w, bias, shift, scale, m, geometry)
    np.testing.assert_allclose(conv(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    single = conv.float()(torch.from_numpy(x).float()).detach().numpy()
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-5)


def autograd_composition(conv, x):
    """The same in elementary operations, each sign with the derivative of the clip in its place."""
    w = conv.weight
    if conv.binary_input:
        total = 0
        for v, beta in zip(conv.shift, conv.scale, strict=True):
            clipped = (x + v).clamp(0, 1)
            a = torch.where(clipped < 0.5, -1.0, 1.0).to(x)
            total = total + beta * (a - clipped.detach() + clipped)
        x = total
    if conv.binary_weight:
        bases, alpha = bases_of(w.detach().numpy(), conv.weight_binarizer.bases)
        clipped = w.clamp(-1, 1)
        w = sum(
            a * ((torch.from_numpy(base) - clipped).detach() + clipped) for a, base in zip(alpha, bases, strict=True)
        )
    return F.conv2d(x, w, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


@pytest.mark.parametrize('switches', [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize('counts', COUNTS)
def test_gradients_are_straight_through_sums(counts, switches):
    torch.manual_seed(0)
    m, n = counts
    conv = ABCConv2d(4, 6, 3, padding=1, stride=2, weight_bases=m, activation_bases=n, dtype=torch.float64)
    scattered(conv).weight.data.mul_(10)  # some latent weights lie outside the straight-through window
    conv.binary_input, conv.binary_weight = switches
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    leaves = [x, conv.weight, conv.bias, *([conv.shift, conv.scale] if switches[0] else [])]
    y, expected = conv(x), autograd_composition(conv, x)
    upstream = torch.randn_like(y)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    for got, want in zip(
        torch.autograd.grad(y, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('n', [1, 2, 3, 5])
def test_activations_start_as_a_staircase_along_clip(n):
    conv = ABCConv2d(1, 1, 1, bias=False, activation_bases=n, binary_weight=False, dtype=torch.float64)
    conv.weight.data.fill_(1.0)
    x = torch.linspace(-2, 2, 401, dtype=torch.float64).view(1, 1, 1, -1)
    steps = conv(x).flatten()
    np.testing.assert_allclose(steps.unique().detach().numpy(), np.linspace(-1, 1, n + 1), atol=1e-12)
    assert (steps - x.flatten().clamp(-1, 1)).abs().max() <= 1.0


def test_per_channel_fits_every_kernel_by_itself():
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    fitted = WeightBases(3, per='channel')(weight)
    for kernel, row in zip(weight, fitted, strict=True):
        torch.testing.assert_close(row, WeightBases(3)(kernel[None])[0])
    window = WeightBases(3, per='channel').window(weight)
    for kernel, row in zip(weight, window, strict=True):
        torch.testing.assert_close(row, WeightBases(3).window(kernel[None])[0])


@pytest.mark.parametrize('weight', [torch.zeros(2, 1, 3, 3), torch.full((2, 1, 3, 3), 0.3), torch.tensor([[[[0.5]]]])])
def test_bases_that_coincide_share_their_coefficient(weight):
    torch.testing.assert_close(WeightBases(3)(weight), weight)
    _, alpha = WeightBases(3).decompose(weight)
    torch.testing.assert_close(alpha.flatten(), alpha.mean().expand(3))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_computes_in_low_precision_from_an_exact_fit(dtype):
    torch.manual_seed(0)
    conv = ABCConv2d(8, 8, 3, padding=1)
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    with torch.autocast('cpu', dtype=dtype):
        fitted = conv.weight_binarizer(conv.weight)
        y = conv(x)
    assert torch.equal(fitted, conv.weight_binarizer(conv.weight))
    y.float().square().sum().backward()
    assert {p.grad.dtype for p in (x, *conv.parameters())} == {torch.float32}
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), conv(x), rtol=3e-2, atol=3e-2)


def test_channels_last_gives_the_same_numbers_and_keeps_the_format():
    conv = ABCConv2d(8, 8, 3, padding=1)
    x = torch.randn(2, 8, 6, 6)
    y = conv(x.contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, conv(x))


def test_only_the_real_input_and_the_parameters_are_saved():
    conv = ABCConv2d(4, 6, 3, padding=1)
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    saved = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.add(t.data_ptr()) or t, lambda t: t):
        conv(x)
    assert saved == {t.data_ptr() for t in (x, conv.weight, conv.shift, conv.scale)}


@pytest.mark.slow
def test_compiled_equals_eager():
    torch.manual_seed(0)
    conv = scattered(ABCConv2d(8, 8, 3, padding=1))
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    y, z = conv(x), torch.compile(conv, fullgraph=True)(x)
    torch.testing.assert_close(y, z)
    leaves, upstream = [x, *conv.parameters()], torch.randn_like(y)
    for a, b in zip(torch.autograd.grad(y, leaves, upstream), torch.autograd.grad(z, leaves, upstream), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_it_is_switched_like_every_binary_convolution_and_adds_shift_and_scale():
    net = nn.Sequential(ABCConv2d(2, 3, 1, activation_bases=2))
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == {
        '0.weight': (3, 2, 1, 1),
        '0.bias': (3,),
        '0.shift': (2,),
        '0.scale': (2,),
    }
    set_activation(net, 'clip')
    set_weights(net, 'real')
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(net(x), F.conv2d(x.clamp(-1, 1), net[0].weight, net[0].bias))
    assert isinstance(net[0], BinaryConv2d)
    assert group_of(net[0]) == 'binary_conv'


def test_conversion_shares_parameters_and_brings_its_own():
    real = nn.Conv2d(4, 6, 3, stride=2, padding=1).double()
    binary = ABCConv2d.from_float(real, activation_bases=2)
    assert binary.weight is real.weight is binary.to_float().weight
    assert (binary.shift.device.type, binary.scale.dtype, len(binary.shift)) == ('cpu', torch.float64, 2)
    assert torch.isfinite(binary(torch.randn(1, 4, 9, 9, dtype=torch.float64))).all()


def test_batch_norm_cannot_absorb_weight_bases():
    net = nn.Sequential(BinaryConv2d(4, 4, 1), nn.BatchNorm2d(4), ABCConv2d(4, 4, 1), nn.BatchNorm2d(4))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for refuses in (absorb_scales, conv_norm_pairs):
        with pytest.raises(InputError, match="'2': a sum of 3 weight bases is not a scale times a sign"):
            refuses(net)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(weight_bases=0), 'bases >= 1'),
        (dict(activation_bases=0), 'activation_bases=0'),
        (dict(per='row'), "'row'"),
        (dict(weight='Sign'), "leave weight='Sign' out"),
        (dict(sign='Tanh'), 'unknown sign surrogate'),
    ],
)
def test_wrong_options_are_told(options, sentence):
    with pytest.raises(InputError, match=sentence):
        ABCConv2d(4, 4, 3, **options)
