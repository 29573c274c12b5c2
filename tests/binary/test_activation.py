import numpy as np
import pytest
import torch

from bireal_plugin.binary import Clip, LeakyClip, RPReLU
from bireal_plugin.binary.activation import build_activation
from bireal_plugin.errors import InputError

X = np.linspace(-3, 3, 601)


def test_clip_is_the_identity_cut_at_one():
    np.testing.assert_allclose(Clip()(torch.from_numpy(X)).numpy(), np.clip(X, -1, 1))


def test_leaky_clip_has_slope_a_tenth_outside():
    expected = np.select([X < -1, X > 1], [0.1 * X - 0.9, 0.1 * X + 0.9], X)
    np.testing.assert_allclose(LeakyClip()(torch.from_numpy(X)).numpy(), expected, atol=1e-12)


def test_leaky_clip_is_exactly_the_identity_within():
    x = torch.linspace(-1, 1, 999)
    assert torch.equal(LeakyClip()(x), x)


def test_leaky_clip_derivative():
    x = torch.tensor([-2.0, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    LeakyClip()(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.1, 1.0, 0.1], atol=1e-12)


def test_unknown_activation_is_named():
    with pytest.raises(InputError, match="'swish'"):
        build_activation('swish')


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = RPReLU(3).double()
    for parameter in layer.parameters():
        parameter.data.normal_()
    return layer


def test_it_is_reactnets_equation_in_numpy(layer):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4))
    gamma, slope, zeta = (p.detach().numpy()[:, None, None] for p in (layer.gamma, layer.slope, layer.zeta))
    expected = np.where(x > gamma, x - gamma + zeta, slope * (x - gamma) + zeta)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-12)


def test_gradients_pass_gradcheck(layer):
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]
    assert names == ['gamma', 'slope', 'zeta']
    assert torch.autograd.gradcheck(
        lambda x, *p: torch.func.functional_call(layer, dict(zip(names, p, strict=True)), x), (x, *layer.parameters())
    )


def test_it_starts_as_a_prelu():
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(RPReLU(3)(x), torch.where(x > 0, x, 0.25 * x))


def test_low_precision_input_stays_low_precision():
    x = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert RPReLU(3)(x).dtype == torch.bfloat16
