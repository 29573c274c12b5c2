"""``bireal::binary_conv2d`` on a CPU through the C kernels: the reference's bits, in both memory formats."""

import pytest
import torch

from bireal_plugin.export.c import operator
from bireal_plugin.folding.operator import binary_conv2d, pack_signs

LAYERS = {
    '3x3': dict(channels=64, outputs=48),
    'odd channels': dict(channels=33, outputs=5, stride=[2, 1], padding=[0, 2]),
    '1x1': dict(channels=20, outputs=17, kernel=(1, 1), padding=[0, 0]),
    'groups': dict(channels=36, outputs=30, groups=3, dilation=[2, 1]),
    'depthwise': dict(channels=6, outputs=12, groups=6, kernel=(5, 3)),
}


@pytest.fixture(autouse=True)
def compiled():
    if operator._kernels() is None:
        pytest.skip('there is no C compiler')


def layer(channels, outputs, *, kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1):
    torch.manual_seed(channels)
    x = torch.randn(3, channels, 11, 9)
    x.view(-1)[::5], x.view(-1)[1::5] = 0.0, -0.0
    packed = pack_signs(torch.randn(outputs, channels // groups, *kernel))
    return [x, packed, torch.randn(outputs), torch.randn(outputs), [*stride], [*padding], [*dilation], groups]


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('name', LAYERS)
def test_equals_the_reference(name, memory_format):
    x, *rest = layer(**LAYERS[name])
    x = x.contiguous(memory_format=memory_format)
    y = torch.ops.bireal.binary_conv2d(x, *rest)
    assert torch.equal(y, binary_conv2d(x, *rest))
    assert y.is_contiguous(memory_format=memory_format)


def test_any_strides():
    x, *rest = layer(64, 16)
    x = torch.randn(3, 128, 11, 18)[:, ::2, :, ::2]
    assert torch.equal(torch.ops.bireal.binary_conv2d(x, *rest), binary_conv2d(x, *rest))


def test_weights_that_change_in_place():
    x, packed, *rest = layer(64, 16)
    torch.ops.bireal.binary_conv2d(x, packed, *rest)
    packed.bitwise_not_()
    assert torch.equal(torch.ops.bireal.binary_conv2d(x, packed, *rest), binary_conv2d(x, packed, *rest))


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_other_types_take_the_reference(dtype):
    x, *rest = layer(64, 16)
    assert torch.equal(torch.ops.bireal.binary_conv2d(x.to(dtype), *rest), binary_conv2d(x.to(dtype), *rest))


def test_a_window_larger_than_the_image_is_refused_as_by_the_reference():
    x, *rest = layer(64, 16, padding=(0, 0))
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        torch.ops.bireal.binary_conv2d(x[..., :2], *rest)
