"""Weight binarizers: from a latent real weight to the 1-bit weight of a convolution, and back for the gradient.

A binarizer keeps no state; it is a function of the latent weight ``(O, I/groups, kH, kW)``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from bireal_plugin.binary.passes import CLOSED_WINDOW, OPEN_WINDOW, compiled_as, signs, windowed
from bireal_plugin.errors import InputError
from bireal_plugin.registry import WEIGHT_BINARIZERS


class WeightBinarizer:
    """``binary = scale(weight) * sign(weight)``; the latent gradient is ``grad * window(weight)``.

    Attributes:
        scales_by_channel: the binary weight of ``factor * weight`` is ``factor`` times as large, a factor per channel.
    """

    scales_by_channel = False

    def scale(self, weight: Tensor) -> Tensor | None:
        """Positive factor broadcastable to ``weight``, without gradient; None where the weights are exactly +-1.

        Raises:
            InputError: the binary weight is not a scale times a sign.
        """
        return None

    def window(self, weight: Tensor) -> Tensor:
        """Mask or factor for the latent gradient, in the shape of ``weight``: True where the gradient passes."""
        raise NotImplementedError

    def latent_gradient(self, weight: Tensor, grad: Tensor) -> Tensor:
        """The gradient to the latent weight from that to the binary one: ``grad * window(weight)``."""
        return windowed(grad, self.window, weight)

    def __call__(self, weight: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The binarized weight, in the shape of ``weight`` and in its dtype or another one, without gradient."""
        return signs(weight, self.scale(weight.detach()), dtype)

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@WEIGHT_BINARIZERS.register
class Sign(WeightBinarizer):
    """BinaryNet, Eq. 8: W_b = Sign(W_r), gradient passed where |W_r| < 1."""

    @compiled_as(OPEN_WINDOW)
    def window(self, weight: Tensor) -> Tensor:
        return weight.abs() < 1


@WEIGHT_BINARIZERS.register
class MagnitudeAware(WeightBinarizer):
    """Bi-Real Net, Eq. 9-20: W_b = mean|W_r| * Sign(W_r).

    As in the published training code, no gradient flows through the mean, and the latent gradient is not multiplied
    by it: it passes unchanged where |W_r| <= 1, and is 0 elsewhere.

    Args:
        per: 'channel' takes one mean per output channel (published code), 'layer' one per layer.
    """

    def __init__(self, per: Literal['channel', 'layer'] = 'channel') -> None:
        if per not in ('channel', 'layer'):
            raise InputError(f"MagnitudeAware(per=...) is 'channel' or 'layer', not {per!r}")
        self.per, self.scales_by_channel = per, per == 'channel'

    def scale(self, weight: Tensor) -> Tensor:
        """Mean magnitude ``(O, 1, 1, 1)``, or ``(1, 1, 1, 1)`` per layer; float64 for float64 weights, else float32."""
        dims = (1, 2, 3) if self.per == 'channel' else (0, 1, 2, 3)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return weight.detach().abs().mean(dim=dims, keepdim=True, dtype=dtype)

    @compiled_as(CLOSED_WINDOW)
    def window(self, weight: Tensor) -> Tensor:
        return weight.abs() <= 1

    def __repr__(self) -> str:
        return f'MagnitudeAware(per={self.per!r})'
