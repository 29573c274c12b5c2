import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d, MagnitudeAware, Sign
from bireal_plugin.errors import InputError


@pytest.fixture
def weight():
    torch.manual_seed(0)
    return torch.randn(6, 4, 3, 3, dtype=torch.float64)


@pytest.mark.parametrize(('per', 'axes'), [('channel', (1, 2, 3)), ('layer', (0, 1, 2, 3))])
def test_magnitude_aware_is_mean_magnitude_times_sign(weight, per, axes):
    w = weight.numpy()
    expected = np.abs(w).mean(axes, keepdims=True) * np.where(w < 0, -1.0, 1.0)
    np.testing.assert_allclose(MagnitudeAware(per=per)(weight).numpy(), expected, rtol=1e-14)


def test_zero_weights_count_as_plus_one():
    w = torch.tensor([0.0, -0.0, -2.0, 2.0]).view(1, 4, 1, 1)
    assert Sign()(w).flatten().tolist() == [1, 1, -1, 1]
    assert MagnitudeAware()(w).flatten().tolist() == [1, 1, -1, 1]


def test_windows_at_their_edges():
    w = torch.tensor([-1.001, -1.0, -0.999, 0.0, 0.999, 1.0, 1.001])
    assert Sign().window(w).tolist() == [False, False, True, True, True, False, False]
    assert MagnitudeAware().window(w).tolist() == [False, True, True, True, True, True, False]


def test_scale_of_half_precision_weights_is_taken_in_float32():
    w = torch.full((1, 4096, 3, 3), 0.1, dtype=torch.float16)
    scale = MagnitudeAware().scale(w)
    assert scale.dtype == torch.float32
    assert scale.item() == pytest.approx(w[0, 0, 0, 0].item(), rel=1e-6)


def test_unknown_granularity_is_refused():
    with pytest.raises(InputError, match='per='):
        MagnitudeAware(per='kernel')


def test_lemma_1_weights_scaled_by_alpha_get_gradients_scaled_by_one_over_alpha():
    torch.manual_seed(1)
    x, target = torch.randn(8, 4, 6, 6, dtype=torch.float64), torch.randn(8, 5, 6, 6, dtype=torch.float64)
    norm = nn.BatchNorm2d(5, eps=1e-30).double()
    base = torch.randn(5, 4, 3, 3, dtype=torch.float64)

    def gradient(alpha):
        w = (alpha * base).requires_grad_()
        F.mse_loss(norm(F.conv2d(x, w, padding=1)), target).backward()
        return w.grad

    torch.testing.assert_close(gradient(10.0), gradient(1.0) / 10.0, rtol=1e-9, atol=1e-12)


def test_plain_sign_starves_the_gradient_that_magnitude_aware_restores():
    """Eq. 9-19: ||Sign(W)|| = alpha ||W||, so the gradient behind a BatchNorm shrinks by alpha; the scale undoes it."""
    torch.manual_seed(2)
    x, target = torch.randn(8, 4, 6, 6, dtype=torch.float64), torch.randn(8, 5, 6, 6, dtype=torch.float64)
    w = 0.1 * torch.randn(5, 4, 3, 3, dtype=torch.float64)

    def gradient(binarizer):
        conv = BinaryConv2d(4, 5, 3, padding=1, bias=False, weight=binarizer, dtype=torch.float64)
        conv.weight.data.copy_(w)
        norm = nn.BatchNorm2d(5, eps=1e-30).double()
        F.mse_loss(norm(conv(x)), target).backward()
        return conv.weight.grad

    scale = w.abs().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(gradient('Sign'), gradient('MagnitudeAware') * scale, rtol=1e-9, atol=1e-12)
