import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, XNORConv2d, approx_sign
from bireal_plugin.errors import InputError

SWITCHES = [(True, True), (True, False), (False, True), (False, False)]
GEOMETRY = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, padding=1, stride=2),
    dict(kernel_size=3, padding=2, dilation=2, bias=False),
    dict(kernel_size=1, groups=2),
    dict(kernel_size=(3, 5), padding=(0, 2), stride=(1, 2)),
    dict(kernel_size=3, padding='same', bias=False),
    dict(kernel_size=3, padding='valid'),
]


def plain_composition(conv, x):
    """The same convolution in elementary autograd operations: sign - detached polynomial + polynomial."""
    w = conv.weight
    if conv.binary_input:
        polynomial = torch.where(x < 0, 2 * x + x * x, 2 * x - x * x)
        polynomial = torch.where(x.abs() < 1, polynomial, torch.sign(x.detach()))
        x = torch.where(x < 0, -1.0, 1.0).to(x) - polynomial.detach() + polynomial
    if conv.binary_weight:
        scale = w.abs().mean((1, 2, 3), keepdim=True).detach()
        clipped = w.clamp(-1, 1)
        w = (scale * torch.where(w < 0, -1.0, 1.0).to(w) - clipped).detach() + clipped
    return F.conv2d(x, w, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def input_with_zeros(*shape, dtype=torch.float64):
    x = torch.randn(shape, dtype=dtype)
    x[x.abs() < 0.1] = 0.0
    x.view(-1)[::17] = -0.0
    return x


@pytest.mark.parametrize(('switches', 'geometry'), itertools.product(SWITCHES, GEOMETRY))
def test_forward_and_gradients_equal_a_plain_autograd_composition(switches, geometry):
    torch.manual_seed(0)
    binary_input, binary_weight = switches
    conv = BinaryConv2d(4, 6, binary_input=binary_input, binary_weight=binary_weight, dtype=torch.float64, **geometry)
    conv.weight.data.mul_(10)  # some latent weights lie outside the straight-through window
    x = input_with_zeros(2, 4, 9, 8).requires_grad_()

    leaves = [x, *conv.parameters()]
    y, expected = conv(x), plain_composition(conv, x)
    upstream = torch.randn_like(y)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    for got, want in zip(
        torch.autograd.grad(y, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


def test_zero_padding_is_true_zero():
    conv = BinaryConv2d(1, 1, 3, padding=1, bias=False, weight='Sign')
    conv.weight.data.fill_(1.0)
    assert conv(torch.ones(1, 1, 3, 3)).flatten().tolist() == [4, 6, 4, 6, 9, 6, 4, 6, 4]


def test_only_the_real_input_and_the_latent_weight_are_saved():
    conv = BinaryConv2d(4, 6, 3, padding=1)
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        conv(x)
    assert sorted(t.data_ptr() for t in saved) == sorted([x.data_ptr(), conv.weight.data_ptr()])


def test_switching_changes_nothing_in_the_state_dict():
    conv = BinaryConv2d(4, 6, 3, activation='clip')
    before = {key: value.clone() for key, value in conv.state_dict().items()}
    conv.binary_input = conv.binary_weight = False
    conv(torch.randn(1, 4, 8, 8))
    assert before.keys() == conv.state_dict().keys() == nn.Conv2d(4, 6, 3).state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in conv.state_dict().items())


def test_real_input_passes_the_real_activation():
    conv = BinaryConv2d(2, 3, 1, binary_input=False, binary_weight=False, activation='clip')
    x = 3 * torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(conv(x), F.conv2d(x.clamp(-1, 1), conv.weight, conv.bias))


def test_conversion_shares_parameters_both_ways():
    real = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    binary = BinaryConv2d.from_float(real, sign='STE')
    back = binary.to_float()
    assert binary.weight is real.weight is back.weight
    assert binary.bias is real.bias is back.bias
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(back(x), real(x))
    assert type(back) is nn.Conv2d


def test_existing_optimizer_trains_the_converted_convolution():
    real = nn.Conv2d(4, 6, 3)
    optimizer = torch.optim.SGD(real.parameters(), lr=0.1)
    binary, before = BinaryConv2d.from_float(real), real.weight.detach().clone()
    binary(torch.randn(1, 4, 8, 8)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(binary.weight, before)


def test_double_use_adds_both_gradients():
    torch.manual_seed(0)
    conv = BinaryConv2d(4, 4, 3, padding=1, dtype=torch.float64)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    conv(conv(x)).sum().backward()
    got = conv.weight.grad.clone()
    conv.zero_grad()
    plain_composition(conv, plain_composition(conv, x)).sum().backward()
    torch.testing.assert_close(got, conv.weight.grad, rtol=1e-9, atol=1e-9)


def test_activation_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    block = nn.Sequential(BinaryConv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), BinaryConv2d(4, 4, 3, padding=1))
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    direct = torch.autograd.grad(block(x).square().sum(), [x, block[0].weight])
    recomputed = torch.autograd.grad(checkpoint(block, x, use_reentrant=False).square().sum(), [x, block[0].weight])
    for a, b in zip(direct, recomputed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('switches', SWITCHES)
def test_channels_last_gives_the_same_numbers_and_keeps_the_format(switches):
    torch.manual_seed(0)
    conv = BinaryConv2d(8, 8, 3, padding=1, binary_input=switches[0], binary_weight=switches[1])
    x = torch.randn(2, 8, 6, 6)
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    x.requires_grad_()
    y = conv(last)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, conv(x))
    (a,), (b,) = torch.autograd.grad(y.square().sum(), last), torch.autograd.grad(conv(x).square().sum(), x)
    torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.parametrize('switches', SWITCHES[:3])
def test_compiled_equals_eager(switches):
    torch.manual_seed(0)
    conv = BinaryConv2d(8, 8, 3, padding=1, binary_input=switches[0], binary_weight=switches[1])
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    compiled = torch.compile(conv, fullgraph=True)
    y, z = conv(x), compiled(x)
    torch.testing.assert_close(y, z)
    upstream = torch.randn_like(y)
    for a, b in zip(
        torch.autograd.grad(y, [x, conv.weight, conv.bias], upstream),
        torch.autograd.grad(z, [x, conv.weight, conv.bias], upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('input_dtype', [torch.float32, 'autocast'])
def test_autocast_computes_in_low_precision_from_signs_of_the_original_input(dtype, input_dtype):
    torch.manual_seed(0)
    conv = BinaryConv2d(8, 8, 3, padding=1, weight='Sign', bias=False)
    x = torch.randn(2, 8, 6, 6)
    x = x.to(dtype) if input_dtype == 'autocast' else x
    x.view(-1)[::5] = -1e-30 if x.dtype == torch.float32 else -1e-7  # rounds to -0.0 in float16
    x.requires_grad_()
    with torch.autocast('cpu', dtype=dtype):
        y = conv(x)
    assert y.dtype == dtype
    # Sums of at most 72 signs are exact in both formats.
    assert torch.equal(y.float(), conv(x.float()).detach())
    y.float().square().sum().backward()
    assert x.grad.dtype == x.dtype
    assert conv.weight.grad.dtype == torch.float32
    got = conv.weight.grad.clone()
    conv.zero_grad()
    conv(x.float()).square().sum().backward()
    torch.testing.assert_close(got, conv.weight.grad, rtol=2e-2, atol=2.0)


def test_bfloat16_model_trains():
    conv = BinaryConv2d(8, 8, 3, padding=1).to(torch.bfloat16)
    y = conv(torch.randn(2, 8, 6, 6, dtype=torch.bfloat16))
    y.float().square().sum().backward()
    assert conv.weight.grad.dtype == y.dtype == torch.bfloat16
    assert conv.weight.grad.abs().sum() > 0


def test_shapes_are_computed_without_memory():
    conv = BinaryConv2d(8, 6, 3, stride=2, padding=1, device='meta')
    assert conv(torch.empty(2, 8, 9, 9, device='meta')).shape == (2, 6, 5, 5)


def test_deep_copy_is_independent():
    conv = BinaryConv2d(4, 4, 3)
    twin = copy.deepcopy(conv)
    twin.binary_weight = False
    assert conv.binary_weight
    assert twin.weight is not conv.weight


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(padding_mode='reflect'), 'true zeros'),
        (dict(sign='Tanh'), 'unknown sign surrogate'),
        (dict(weight='Ternary'), 'unknown weight binarizer'),
        (dict(weight=dict(per='channel')), "dict\\(type='Name'"),
        (dict(activation='gelu'), "'gelu'"),
    ],
)
def test_wrong_options_are_told(options, sentence):
    with pytest.raises(InputError, match=sentence):
        BinaryConv2d(4, 4, 3, **options)


def test_same_padding_needs_an_odd_kernel():
    with pytest.raises(InputError, match='odd kernel'):
        BinaryConv2d(4, 4, 2, padding='same')(torch.randn(1, 4, 8, 8))


def test_the_sign_of_the_activation_is_the_surrogates():
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    conv = BinaryConv2d(4, 3, 1, binary_weight=False, bias=False, dtype=torch.float64)
    (a,) = torch.autograd.grad(conv(x).sum(), x)
    (b,) = torch.autograd.grad(F.conv2d(approx_sign(x), conv.weight).sum(), x)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize('kind', [BinaryConv2d, XNORConv2d, ABCConv2d])
@pytest.mark.parametrize('options', [{}, dict(binary_input=False), dict(binary_weight=False)])
def test_integer_images_raise_as_with_a_real_convolution(dtype, kind, options):
    x = torch.ones(1, 3, 8, 8).to(dtype)
    for conv in (torch.nn.Conv2d(3, 4, 3), kind(3, 4, 3, **options)):
        with pytest.raises(RuntimeError, match='Input type'):
            conv(x)
