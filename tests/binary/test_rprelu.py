import numpy as np
import pytest
import torch

from bireal_plugin.binary import RPReLU


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
