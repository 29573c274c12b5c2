import ast
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import bireal_plugin
from bireal_plugin.folding.fold import fold
from bireal_plugin.folding.operator import pack_signs, unpack_signs
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.folding.test_fold import trained


@pytest.mark.parametrize('channels', [1, 7, 8, 9, 20, 64])
def test_packing_is_little_endian_along_input_channels_with_one_for_plus(channels):
    torch.manual_seed(0)
    weight = torch.randn(5, channels, 3, 2)
    weight[0, 0] = 0.0
    bits = (weight.numpy() >= 0).transpose(0, 2, 3, 1)
    expected = np.packbits(bits, axis=-1, bitorder='little')
    assert np.array_equal(pack_signs(weight).numpy(), expected)


@pytest.mark.parametrize('channels', [1, 7, 8, 9, 20, 64])
def test_unpacking_gives_the_signs_back(channels):
    weight = torch.randn(5, channels, 3, 2)
    assert torch.equal(unpack_signs(pack_signs(weight), channels), torch.where(weight < 0, -1.0, 1.0))


def test_a_weight_of_one_channel_has_plain_strides():
    assert unpack_signs(pack_signs(torch.randn(4, 1, 5, 3)), 1).stride() == (15, 15, 3, 1)


def test_one_channel_is_convolved_right_where_pytorch_is_particular_about_strides():
    torch.manual_seed(0)
    for _ in range(40):
        x, weight = torch.randn(1, 1, 9, 2), torch.randn(32, 1, 5, 5)
        arguments = (torch.ones(32), torch.zeros(32), [1, 2], [2, 2], [1, 1], 1)
        got = torch.ops.bireal.binary_conv2d(x, pack_signs(weight), *arguments)
        signs, kernel = (torch.where(t.double() >= 0, 1.0, -1.0) for t in (x, weight))
        assert torch.equal(got.double(), F.conv2d(signs, kernel, None, [1, 2], [2, 2]))


@pytest.mark.parametrize(
    ('kernel', 'stride', 'padding', 'dilation', 'groups'),
    [
        *itertools.product([(3, 3), (1, 1), (3, 5)], [[1, 1], [2, 1]], [[0, 0], [1, 2]], [[1, 1], [2, 1]], [1, 2]),
    ],
)
def test_the_operator_is_an_integer_convolution_and_an_affine_map(kernel, stride, padding, dilation, groups):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 6, 9, 11), torch.randn(4, 6 // groups, *kernel)
    x[x.abs() < 0.3] = 0.0
    x.view(-1)[::7] = -0.0
    scale, bias = torch.randn(4), torch.randn(4)
    signs = torch.where(x.double() >= 0, 1.0, -1.0)
    kernel_signs = torch.where(weight.double() >= 0, 1.0, -1.0)
    expected = F.conv2d(signs, kernel_signs, None, stride, padding, dilation, groups)
    expected = expected * scale.double().view(-1, 1, 1) + bias.double().view(-1, 1, 1)
    got = torch.ops.bireal.binary_conv2d(x, pack_signs(weight), scale, bias, stride, padding, dilation, groups)
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-5)


def test_schemas_are_written_out():
    """Inferred ones differ: torch 2.6 knows no ``list[int]`` and fails at the import."""
    files = Path(bireal_plugin.__file__).parent.rglob('*.py')
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('custom_op')]
    assert len(calls) > 0
    assert [ast.unparse(call) for call in calls if 'schema' not in {word.arg for word in call.keywords}] == []


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(('channels', 'groups'), [(16, 1), (6, 2), (1, 1)])
def test_the_fake_kernel_agrees_with_the_real_one(channels, groups, dtype, layout):
    x = torch.randn(2, channels, 9, 11, dtype=dtype).to(memory_format=layout)
    weight = pack_signs(torch.randn(8, channels // groups, 3, 3))
    arguments = (weight, torch.ones(8), torch.zeros(8), [2, 1], [1, 0], [1, 2], groups)
    torch.library.opcheck(
        torch.ops.bireal.binary_conv2d, (x, *arguments), test_utils=('test_schema', 'test_faketensor')
    )


@pytest.fixture
def exported():
    """A folded network, an image, and the program that ``torch.export`` makes of both."""
    torch.manual_seed(0)
    options = dict(base_channels=8, num_stages=1, out_indices=(0,), stem='cifar')
    net, x = fold(trained(BiRealClassifier(BiRealResNet(18, **options), 10))), torch.randn(2, 3, 16, 16)
    return net, x, torch.export.export(net, (x,))


def test_a_program_of_torch_export_is_saved_and_computes_the_same(exported, tmp_path):
    net, x, program = exported
    torch.export.save(program, tmp_path / 'net.pt2')
    loaded = torch.export.load(tmp_path / 'net.pt2')
    calls = [node for node in loaded.graph.nodes if node.target == torch.ops.bireal.binary_conv2d.default]
    assert len(calls) == 4
    assert torch.equal(loaded.module()(x), net(x))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='needs a C++ compiler')
def test_a_program_compiled_by_aotinductor_computes_the_same(exported, tmp_path):
    net, x, program = exported
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / 'net.pt2'))
    torch.testing.assert_close(torch._inductor.aoti_load_package(path)(x), net(x), rtol=1e-4, atol=1e-5)
