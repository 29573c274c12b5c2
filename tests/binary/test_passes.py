"""Signs and windows in one pass: the bits of PyTorch's operations, on every layout, with and without a compiler."""

import os

import pytest
import torch

from bireal_plugin.binary import STE, ApproxSign, BinaryConv2d, MagnitudeAware, ThirdOrder, passes
from bireal_plugin.binary.weight import Sign
from tests.warm import Python

EDGES = [0.0, -0.0, 1.0, -1.0, float('inf'), -float('inf'), float('nan'), 1e-45, -1e-45, 0.99999994, 3.0, -3.0]
WINDOWS = {
    'ste': (STE().derivative, lambda x: (x.abs() < 1).to(x.dtype)),
    'approx_sign': (ApproxSign().derivative, lambda x: (2 - 2 * x.abs()).clamp(min=0)),
    'third_order': (ThirdOrder().derivative, lambda x: (1 - x.abs()).clamp(min=0) ** 2 * 3),
    'sign': (Sign().window, lambda x: (x.abs() < 1).to(x.dtype)),
    'magnitude_aware': (MagnitudeAware().window, lambda x: (x.abs() <= 1).to(x.dtype)),
}
LAYOUTS = {
    'contiguous': lambda x: x,
    'channels_last': lambda x: x.contiguous(memory_format=torch.channels_last),
    'cut': lambda x: x[:, 1:, ::2],
}


def numbers(dtype, layout):
    torch.manual_seed(0)
    x = torch.randn(5, 7, 33, 31)
    x.view(-1)[: len(EDGES)] = torch.tensor(EDGES)
    x[2, 3, 0] = x[0, 0, 0]
    return LAYOUTS[layout](x.to(dtype))


@pytest.fixture(autouse=True)
def compiled():
    if passes._passes() is None:
        pytest.skip('there is no C compiler')


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('to', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64, torch.float16])
def test_signs(dtype, to, layout):
    x = numbers(dtype, layout)
    expected = torch.where(x < 0, -1.0, 1.0).to(to)
    assert torch.equal(passes.signs(x, None, to), expected)
    scale = torch.rand(len(x), 1, 1, 1)
    assert torch.equal(passes.signs(x, scale, to), (expected * scale.to(x.dtype)).to(to))
    assert torch.equal(passes.signs(x, scale[:1], to), (expected * scale[:1].to(x.dtype)).to(to))


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('name', WINDOWS)
def test_windows(name, dtype, layout):
    window, formula = WINDOWS[name]
    x = numbers(dtype, layout)
    grad = torch.randn(x.shape, dtype=dtype)
    found, expected = passes.windowed(grad, window, x), grad * formula(x)
    assert found.dtype is dtype
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())


def test_another_derivative_is_asked():
    class Steep(ApproxSign):
        def derivative(self, x):
            return 5 * super().derivative(x)

    x, grad = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert torch.equal(Steep().gradient(x, grad), 5 * (2 - 2 * x.abs()).clamp(min=0) * grad)


def test_shapes_without_memory():
    conv = BinaryConv2d(3, 4, 3, device='meta')
    assert conv(torch.zeros(2, 3, 8, 8, device='meta')).shape == (2, 4, 6, 6)


STEP = """
import torch
from bireal_plugin.binary import BinaryConv2d, passes
torch.manual_seed(0)
conv, x = BinaryConv2d(8, 16, 3, padding=1), torch.randn(2, 8, 9, 9, requires_grad=True)
y = conv(x)
y.square().sum().backward()
torch.save([passes._passes() is None, y, x.grad, conv.weight.grad], {target!r})
"""


def test_without_a_compiler_the_same_bits(tmp_path):
    found = []
    for path in (os.environ['PATH'], str(tmp_path)):
        target = str(tmp_path / 'step.pt')
        # The packages of this environment may hold a compiler of their own, so their program is left out too.
        program = STEP.format(target=target)
        if path == str(tmp_path):
            program = f'from bireal_plugin import c_compiler\nc_compiler.find_spec = lambda name, *_: None\n{program}'
        assert Python(['-c', program], PATH=path, CC='').ended().status == 0
        found.append(torch.load(target))
    (with_it, *numbers), (without, *others) = found
    assert (with_it, without) == (False, True)
    assert all(torch.equal(x, y) for x, y in zip(numbers, others, strict=True))


def test_a_compiler_without_openmp_does(tmp_path):
    compiler = tmp_path / 'cc'
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *-fopenmp*) echo "error: no OpenMP" >&2; exit 1;; esac\nexec gcc "$@"\n'
    )
    compiler.chmod(0o755)
    target = str(tmp_path / 'step.pt')
    variables = dict(CC=str(compiler), XDG_CACHE_HOME=str(tmp_path))
    assert Python(['-c', STEP.format(target=target)], **variables).ended().status == 0
    without, *_ = torch.load(target)
    assert without is False
