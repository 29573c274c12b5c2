"""XNOR-Net (Rastegari et al., ECCV 2016): 1-bit convolutions whose two scales, alpha and K, stay at inference."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.binary.weight import MagnitudeAware
from bireal_plugin.registry import BINARY_CONVOLUTIONS, WEIGHT_BINARIZERS


@WEIGHT_BINARIZERS.register
class XNORWeight(MagnitudeAware):
    """W~ = alpha Sign(W) with alpha = mean|W| of each kernel; dC/dW = dC/dW~ (1/n + alpha 1{|W| <= 1}).

    n is the number of weights of a kernel. The summand 1/n stands for the gradient through alpha and passes everywhere.
    """

    def __init__(self) -> None:
        super().__init__(per='channel')

    def window(self, weight: Tensor) -> Tensor:
        return self.scale(weight).to(weight.dtype) * super().window(weight) + 1 / weight[0].numel()

    def __repr__(self) -> str:
        return 'XNORWeight()'


@BINARY_CONVOLUTIONS.register
class XNORConv2d(BinaryConv2d):
    """``(sign(A) * sign(W)) K alpha + bias``: a 1-bit convolution scaled per output pixel by K, per kernel by alpha.

    K replaces the magnitude that the sign of the input loses, so a real input (``binary_input=False``) has none.
    Gradients flow through K, for which one tensor of the output's size is saved. K is kept at inference; alpha, being
    one number per output channel, can move into the BatchNorm behind (``absorb_scales``) without changing the output.

    Args:
        sign, weight: surrogate and weight binarizer, by default those of XNOR-Net's paper.
        options: as for ``BinaryConv2d``.
    """

    def __init__(self, *args: Any, sign: Any = 'STE', weight: Any = 'XNORWeight', **options: Any) -> None:
        super().__init__(*args, sign=sign, weight=weight, **options)

    def forward(self, x: Tensor) -> Tensor:
        if not self.binary_input:
            return super().forward(x)
        y = self.convolve(x, bias=None).unflatten(1, (self.groups, -1))
        y = (y * self.input_scale(x).to(y.dtype).unsqueeze(2)).flatten(1, 2)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)

    def input_scale(self, x: Tensor) -> Tensor:
        """K ``(N, groups, H', W')``: the mean of |x| over a group's channels and over the window of each output pixel.

        The mean divides by the whole area of the window, padding included, as the box filter of the paper.
        """
        rows, columns = self.kernel_size
        magnitude = x.abs().unflatten(1, (self.groups, -1)).mean(2) / (rows * columns)
        box = magnitude.new_ones(self.groups, 1, rows, columns)
        return F.conv2d(magnitude, box, None, *self.geometry)
