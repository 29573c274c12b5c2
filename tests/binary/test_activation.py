import numpy as np
import pytest
import torch

from bireal_plugin.binary import Clip, LeakyClip
from bireal_plugin.binary.activation import build_activation
from bireal_plugin.errors import InputError

X = np.linspace(-3, 3, 601)


def test_clip_is_the_identity_cut_at_one():
    np.testing.assert_allclose(Clip()(torch.from_numpy(X)).numpy(), np.clip(X, -1, 1))


def test_leaky_clip_has_slope_a_tenth_outside():
    expected = np.select([X < -1, X > 1], [0.1 * X - 0.9, 0.1 * X + 0.9], X)
    np.testing.assert_allclose(LeakyClip()(torch.from_numpy(X)).numpy(), expected, atol=1e-12)


def test_leaky_clip_derivative():
    x = torch.tensor([-2.0, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    LeakyClip()(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.1, 1.0, 0.1], atol=1e-12)


def test_unknown_activation_is_named():
    with pytest.raises(InputError, match="'swish'"):
        build_activation('swish')
