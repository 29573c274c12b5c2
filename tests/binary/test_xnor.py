import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d, Sign, XNORConv2d, set_activation, set_weights
from bireal_plugin.folding.absorb import absorb_scales
from tests.binary import naive_conv

GEOMETRY = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, padding=1, stride=2),
    dict(kernel_size=3, padding=2, dilation=2, bias=False),
    dict(kernel_size=1, bias=False),
    dict(kernel_size=3, padding=1, groups=2),
    dict(kernel_size=(3, 5), padding=(0, 2), stride=(1, 2), groups=4, bias=False),
]


def paper(x, w, bias, geometry):
    """I * W = (sign(I) (*) sign(W)) . K alpha, K = A * k with A the mean of |I| over channels and k = 1 / (w h)."""
    groups = geometry.get('groups', 1)
    alpha = np.abs(w).mean((1, 2, 3))
    magnitude = np.abs(x).reshape(len(x), groups, -1, *x.shape[2:]).mean(2)
    box = np.full((groups, 1, *w.shape[2:]), 1 / (w.shape[2] * w.shape[3]))
    k = np.repeat(naive_conv.conv2d(magnitude, box, **geometry), len(w) // groups, axis=1)
    y = naive_conv.conv2d(naive_conv.sign(x), naive_conv.sign(w), **geometry) * k * alpha[:, None, None]
    return y if bias is None else y + bias[:, None, None]


@pytest.mark.parametrize('options', GEOMETRY)
def test_forward_is_the_papers_equation_in_numpy(options):
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    conv = XNORConv2d(8, 4, **options)
    x = naive_conv.with_zeros(generator, 2, 8, 9, 10)
    conv.weight.data.view(-1)[::13] = 0.0
    geometry = {key: value for key, value in options.items() if key not in ('kernel_size', 'bias')}
    bias = None if conv.bias is None else conv.bias.detach().numpy()
    expected = paper(x, conv.weight.detach().numpy().astype(np.float64), bias, geometry)
    got = conv(torch.from_numpy(x).float()).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def autograd_composition(conv, x):
    """The same in elementary operations: clip in the place of sign, and the paper's dC/dW written as a surrogate."""
    w = conv.weight
    magnitude = x.abs().mean(1, keepdim=True)
    box = torch.full((1, 1, *w.shape[2:]), 1 / w[0, 0].numel(), dtype=x.dtype)
    k = F.conv2d(magnitude, box, None, conv.stride, conv.padding, conv.dilation)
    if conv.binary_input:
        clipped = x.clamp(-1, 1)
        x = torch.where(x < 0, -1.0, 1.0).to(x) - clipped.detach() + clipped
    if conv.binary_weight:
        alpha = w.detach().abs().mean((1, 2, 3), keepdim=True)
        surrogate = w / w[0].numel() + alpha * w.clamp(-1, 1)
        w = (alpha * torch.where(w < 0, -1.0, 1.0) - surrogate).detach() + surrogate
    y = F.conv2d(x, w, None, conv.stride, conv.padding, conv.dilation)
    y = y * k if conv.binary_input else y
    return y if conv.bias is None else y + conv.bias.view(-1, 1, 1)


@pytest.mark.parametrize('switches', [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize('options', GEOMETRY[:4])
def test_gradients_are_the_papers(switches, options):
    torch.manual_seed(0)
    conv = XNORConv2d(4, 6, binary_input=switches[0], binary_weight=switches[1], dtype=torch.float64, **options)
    conv.weight.data.mul_(10)  # some latent weights lie outside the straight-through window
    x = (2 * torch.randn(2, 4, 9, 8, dtype=torch.float64)).requires_grad_()
    leaves = [x, *conv.parameters()]
    y, expected = conv(x), autograd_composition(conv, x)
    upstream = torch.randn_like(y)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    for got, want in zip(
        torch.autograd.grad(y, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_groups_are_separate_convolutions():
    torch.manual_seed(0)
    conv = XNORConv2d(4, 6, 3, padding=1, groups=2, dtype=torch.float64)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    halves = []
    for g in range(2):
        half = XNORConv2d(2, 3, 3, padding=1, dtype=torch.float64)
        half.weight, half.bias = (nn.Parameter(p[3 * g : 3 * g + 3].detach()) for p in (conv.weight, conv.bias))
        halves.append(half(x[:, 2 * g : 2 * g + 2]))
    y, expected = conv(x), torch.cat(halves, 1)
    torch.testing.assert_close(y, expected)
    upstream = torch.randn_like(y)
    torch.testing.assert_close(torch.autograd.grad(y, x, upstream), torch.autograd.grad(expected, x, upstream))


def test_a_real_input_has_no_k():
    conv = XNORConv2d(2, 3, 1, bias=False, activation='clip', binary_input=False)
    x = 3 * torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(conv(x), F.conv2d(x.clamp(-1, 1), conv.weight_binarizer(conv.weight)))


def test_the_surrogate_can_be_swapped():
    conv, other = XNORConv2d(2, 3, 1), XNORConv2d(2, 3, 1, sign='ApproxSign')
    assert (repr(conv.surrogate), repr(other.surrogate)) == ('STE()', 'ApproxSign()')
    other.load_state_dict(conv.state_dict())
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    assert torch.equal(conv(x), other(x))
    assert not torch.equal(*(torch.autograd.grad(c(x).sum(), x)[0] for c in (conv, other)))


def test_it_is_switched_and_stored_like_every_binary_convolution():
    net = nn.Sequential(XNORConv2d(2, 3, 1))
    assert net.state_dict().keys() == nn.Sequential(BinaryConv2d(2, 3, 1)).state_dict().keys()
    set_activation(net, 'clip')
    set_weights(net, 'real')
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(net(x), F.conv2d(x.clamp(-1, 1), net[0].weight, net[0].bias))


def test_conversion_shares_parameters_both_ways():
    real = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    binary = XNORConv2d.from_float(real)
    assert type(binary) is XNORConv2d
    assert binary.weight is real.weight is binary.to_float().weight


def test_input_weight_and_unscaled_output_are_all_that_is_saved_at_full_size():
    conv = XNORConv2d(8, 8, 3, padding=1, bias=False)
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    saved = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.update({t.data_ptr(): t.numel()}) or t, lambda t: t):
        conv(x)
    large = [size for pointer, size in saved.items() if pointer != conv.weight.data_ptr() and size >= x.numel()]
    assert x.data_ptr() in saved
    assert large == [x.numel(), 2 * 8 * 6 * 6]


@pytest.mark.parametrize('groups', [1, 2])
def test_channels_last_gives_the_same_numbers_and_keeps_the_format(groups):
    conv = XNORConv2d(8, 8, 3, padding=1, groups=groups)
    x = torch.randn(2, 8, 6, 6)
    y = conv(x.contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, conv(x))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_computes_in_low_precision(dtype):
    torch.manual_seed(0)
    conv = XNORConv2d(8, 8, 3, padding=1)
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    with torch.autocast('cpu', dtype=dtype):
        y = conv(x)
    y.float().square().sum().backward()
    assert (y.dtype, x.grad.dtype, conv.weight.grad.dtype) == (dtype, torch.float32, torch.float32)
    torch.testing.assert_close(y.float(), conv(x), rtol=3e-2, atol=3e-2)


@pytest.mark.slow
def test_compiled_equals_eager():
    torch.manual_seed(0)
    conv = XNORConv2d(8, 8, 3, padding=1, groups=2)
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    y, z = conv(x), torch.compile(conv, fullgraph=True)(x)
    torch.testing.assert_close(y, z)
    leaves, upstream = [x, conv.weight, conv.bias], torch.randn_like(y)
    for a, b in zip(torch.autograd.grad(y, leaves, upstream), torch.autograd.grad(z, leaves, upstream), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('bias', [False, True])
def test_batch_norm_absorbs_alpha_exactly_and_k_stays(bias):
    torch.manual_seed(0)
    net = nn.Sequential(XNORConv2d(6, 6, 3, padding=1, bias=bias), nn.BatchNorm2d(6)).double()
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.1, 2)
    x = torch.randn(4, 6, 8, 8, dtype=torch.float64)
    before = net.eval()(x)
    k = net[0].input_scale(x)
    assert absorb_scales(net) == 1
    torch.testing.assert_close(net(x), before, rtol=1e-10, atol=1e-10)
    assert isinstance(net[0].weight_binarizer, Sign)
    assert set(net[0].weight.unique().tolist()) == {-1.0, 1.0}
    plain = F.conv2d(torch.where(x < 0, -1.0, 1.0).double(), net[0].weight, padding=1) * k
    plain = plain + net[0].bias.view(-1, 1, 1) if bias else plain
    torch.testing.assert_close(net[0](x), plain)
