import numpy as np
import pytest
import torch

from bireal_plugin.binary import STE, ApproxSign, ThirdOrder, approx_sign, sign, ste_sign, third_order_sign
from bireal_plugin.errors import InputError
from bireal_plugin.registry import SURROGATES

TINY = 1e-3
EDGES = [-2.0, -1 - TINY, -1.0, -1 + TINY, -0.5, -TINY, -0.0, 0.0, TINY, 0.5, 1 - TINY, 1.0, 1 + TINY, 2.0]


def ste_derivative(a):
    return np.where(np.abs(a) < 1, 1.0, 0.0)


def quadratic_derivative(a):
    return np.select([(a >= -1) & (a < 0), (a >= 0) & (a < 1)], [2 + 2 * a, 2 - 2 * a], 0.0)


def cubic_derivative(a):
    return np.select([(a >= -1) & (a < 0), (a >= 0) & (a < 1)], [3 * (a + 1) ** 2, 3 * (a - 1) ** 2], 0.0)


FORMULAS = [(STE, ste_derivative), (ApproxSign, quadratic_derivative), (ThirdOrder, cubic_derivative)]


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_sign_is_plus_one_at_both_zeros_and_minus_one_only_below(dtype):
    smallest = torch.finfo(dtype).tiny
    x = torch.tensor([-3.0, -smallest, -0.0, 0.0, smallest, 3.0], dtype=dtype)
    assert sign(x).tolist() == [-1, -1, 1, 1, 1, 1]
    assert sign(x).dtype == dtype


@pytest.mark.parametrize(('surrogate', 'formula'), FORMULAS)
def test_derivative_is_the_papers(surrogate, formula):
    a = np.concatenate([EDGES, np.linspace(-1.5, 1.5, 601)])
    got = surrogate().derivative(torch.from_numpy(a)).numpy()
    np.testing.assert_allclose(got, formula(a), atol=1e-12)


@pytest.mark.parametrize(('surrogate', 'formula'), FORMULAS)
def test_polynomial_has_that_derivative(surrogate, formula):
    x = torch.linspace(-1.45, 1.45, 200, dtype=torch.float64, requires_grad=True)
    surrogate().polynomial(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), formula(x.detach().numpy()), atol=1e-9)


@pytest.mark.parametrize(('surrogate', 'area'), [(STE, 1.0), (ApproxSign, 2 / 3)])
def test_area_between_surrogate_and_sign_is_the_papers(surrogate, area):
    x = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    difference = (surrogate().polynomial(x) - sign(x)).abs()
    assert torch.trapezoid(difference, x).item() == pytest.approx(area, abs=1e-4)


@pytest.mark.parametrize(
    ('function', 'formula'),
    [(ste_sign, ste_derivative), (approx_sign, quadratic_derivative), (third_order_sign, cubic_derivative)],
)
def test_function_is_sign_forward_and_surrogate_backward(function, formula):
    x = torch.tensor(EDGES, dtype=torch.float64, requires_grad=True)
    upstream = torch.arange(1.0, len(EDGES) + 1, dtype=torch.float64)
    y = function(x)
    assert y.tolist() == np.where(np.array(EDGES) < 0, -1.0, 1.0).tolist()
    y.backward(upstream)
    np.testing.assert_allclose(x.grad.numpy(), upstream.numpy() * formula(np.array(EDGES)), atol=1e-12)


def test_surrogate_function_saves_its_input_and_nothing_else():
    saved = []
    x = torch.randn(5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        approx_sign(x)
    assert [t.data_ptr() for t in saved] == [x.data_ptr()]


def test_surrogates_are_swapped_by_name():
    assert isinstance(SURROGATES.build('ThirdOrder'), ThirdOrder)
    assert isinstance(SURROGATES.build(dict(type='STE')), STE)
    with pytest.raises(InputError, match=r"unknown sign surrogate 'Tanh'; there are: ApproxSign, STE, ThirdOrder"):
        SURROGATES.build('Tanh')
    with pytest.raises(InputError, match='slope'):
        SURROGATES.build(dict(type='STE', slope=3))
