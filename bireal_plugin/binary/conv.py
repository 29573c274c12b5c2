"""BinaryConv2d: a convolution whose input and weight are each binary or real, switchable at any time.

One autograd function saves the real input and the latent weight, which exist anyway, and recomputes their signs in
backward: a quarter of the memory of the usual formulation ``sign.detach() - poly.detach() + poly``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.binary.activation import build_activation
from bireal_plugin.binary.passes import signs
from bireal_plugin.binary.sign import Surrogate
from bireal_plugin.binary.weight import WeightBinarizer
from bireal_plugin.errors import InputError
from bireal_plugin.registry import BINARY_CONVOLUTIONS, SURROGATES, WEIGHT_BINARIZERS

Geometry = tuple[list[int], list[int], list[int], int]  # stride, padding, dilation, groups


class _BinaryConvolution(torch.autograd.Function):
    """``conv2d(sign(x), binarize(w))`` with surrogate gradients; ``surrogate`` or ``binarizer`` None leaves it real."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        surrogate: Surrogate | None,
        binarizer: WeightBinarizer | None,
        geometry: Geometry,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.surrogate, ctx.binarizer, ctx.geometry = surrogate, binarizer, geometry
        ctx.bias_dtype = None if bias is None else bias.dtype
        operand, kernel = _operand(x, surrogate, dtype), binarized(weight, binarizer, dtype)
        return F.conv2d(operand, kernel, None if bias is None else bias.to(dtype), *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        needs = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.bias_dtype is not None)
        operand = _operand(x, ctx.surrogate, grad.dtype)
        grad_x, grad_weight, grad_bias = convolution_gradients(
            grad, operand, weight, ctx.binarizer, ctx.bias_dtype, ctx.geometry, needs
        )
        if grad_x is not None:
            grad_x = grad_x.to(x.dtype) if ctx.surrogate is None else ctx.surrogate.gradient(x, grad_x)
        return grad_x, grad_weight, grad_bias, None, None, None, None


def convolution_gradients(
    grad: Tensor,
    operand: Tensor,
    weight: Tensor,
    binarizer: WeightBinarizer | None,
    bias_dtype: torch.dtype | None,
    geometry: Geometry,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of ``conv2d(operand, binarize(weight), bias)`` to the operand, the latent weight and the bias."""
    stride, padding, dilation, groups = geometry
    kernel = binarized(weight, binarizer, grad.dtype)
    bias_sizes = [weight.shape[0]] if needs[2] else None
    grad_operand, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        grad, operand, kernel, bias_sizes, stride, padding, dilation, False, [0, 0], groups, needs
    )
    if grad_weight is not None:
        grad_weight = grad_weight.to(weight.dtype)
        if binarizer is not None:
            grad_weight = binarizer.latent_gradient(weight, grad_weight)
    if grad_bias is not None:
        grad_bias = grad_bias.to(bias_dtype)
    return grad_operand, grad_weight, grad_bias


def binarized(weight: Tensor, binarizer: WeightBinarizer | None, dtype: torch.dtype) -> Tensor:
    """Weight that the convolution multiplies by: binary, or the real one where ``binarizer`` is None."""
    return weight.to(dtype) if binarizer is None else binarizer(weight, dtype)


def refuse_integers(x: Tensor) -> None:
    """Raise RuntimeError, as ``nn.Conv2d`` does, for an ``x`` of integers: every sign of pixels would be +1."""
    if isinstance(x, Tensor) and not x.is_floating_point():  # a tracer's stand-in has no type
        raise RuntimeError(f'Input type ({x.dtype}) is not floating point: normalise images before the network')


def compute_dtype(x: Tensor) -> torch.dtype:
    """Data type in which a convolution of ``x`` computes: autocast's while autocast is on, else that of ``x``.

    Raises:
        RuntimeError: see ``refuse_integers``.
    """
    refuse_integers(x)
    device = x.device.type
    if device == 'meta':  # shapes alone are computed, and is_autocast_enabled knows no such device
        return x.dtype
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def arguments_of(conv: nn.Conv2d) -> dict[str, Any]:
    """The arguments of ``nn.Conv2d`` that made ``conv``, but for device and data type."""
    names = ('in_channels', 'out_channels', 'kernel_size', 'stride', 'padding', 'dilation', 'groups', 'padding_mode')
    return {**{name: getattr(conv, name) for name in names}, 'bias': conv.bias is not None}


def conv_factory(conv: Any, *, sign: Any = None, weight: Any = None) -> partial[Any]:
    """Constructor of the 1-bit convolution that ``conv`` names, a name or dict of type and its own options.

    ``sign`` and ``weight`` of None are left to its type.
    """
    options = {'type': conv} if isinstance(conv, str) else dict(conv)
    options |= {key: value for key, value in (('sign', sign), ('weight', weight)) if value is not None}
    return partial(BINARY_CONVOLUTIONS.get(options.pop('type')), **options)


def _operand(x: Tensor, surrogate: Surrogate | None, dtype: torch.dtype) -> Tensor:
    # The sign is taken before the cast: fp16 would round a small negative number to -0.0, whose sign is +1.
    return x.to(dtype) if surrogate is None else signs(x, dtype=dtype)


@BINARY_CONVOLUTIONS.register
class BinaryConv2d(nn.Conv2d):
    """A convolution of ``sign(x)`` with binarized weights: input ``(N, C, H, W)``, latent weight ``(O, C/g, kH, kW)``.

    The arguments of ``Conv2d`` keep their meaning; padding is with true zeros, after the sign. The switches
    ``binary_input`` and ``binary_weight`` are plain attributes and change nothing in the state dict.

    Args:
        sign: surrogate of the activation's derivative, a name or config of ``SURROGATES``.
        weight: weight binarizer, a name or config of ``WEIGHT_BINARIZERS``.
        binary_input: take the sign of the input; otherwise apply ``activation`` to it.
        binary_weight: binarize the weight; otherwise use it as it is.
        activation: the real activation in the place of the sign: 'relu', 'leaky_clip', 'clip' or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | str | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = 'zeros',
        *,
        sign: Any = 'ApproxSign',
        weight: Any = 'MagnitudeAware',
        binary_input: bool = True,
        binary_weight: bool = True,
        activation: str | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if padding_mode != 'zeros':
            raise InputError(f'BinaryConv2d pads with true zeros; padding_mode={padding_mode!r} cannot be binarized')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, 'zeros', device, dtype
        )
        self.surrogate: Surrogate = SURROGATES.build(sign)
        self.weight_binarizer: WeightBinarizer = WEIGHT_BINARIZERS.build(weight)
        self.binary_input = binary_input
        self.binary_weight = binary_weight
        self.activation = nn.Identity() if activation is None else build_activation(activation)

    @classmethod
    def from_float(cls, conv: nn.Conv2d, **options: Any) -> BinaryConv2d:
        """The binary twin of ``conv``, with the *same* Parameter objects, so that an existing optimizer trains it."""
        twin = cls(**arguments_of(conv), device='meta', **options)
        twin.weight, twin.bias = conv.weight, conv.bias
        return twin.train(conv.training)

    def to_float(self) -> nn.Conv2d:
        """The plain convolution over the same Parameters, without sign and without activation."""
        conv = nn.Conv2d(**arguments_of(self), device='meta')
        conv.weight, conv.bias = self.weight, self.bias
        return conv.train(self.training)

    @property
    def zero_padding(self) -> list[int]:
        """Zeros on each side, ``[rows, columns]``; 'same' and 'valid' resolved.

        Raises:
            InputError: 'same' with an even kernel extent, which would need different padding on the two sides.
        """
        if self.padding == 'valid':
            return [0, 0]
        if self.padding != 'same':
            return [int(side) for side in self.padding]
        totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        if any(total % 2 for total in totals):
            raise InputError(f"padding='same' needs an odd kernel, not {self.kernel_size}; give the padding in pixels")
        return [total // 2 for total in totals]

    @property
    def geometry(self) -> Geometry:
        """Stride, zero padding, dilation and groups, as convolution functions take them."""
        return list(self.stride), self.zero_padding, list(self.dilation), self.groups

    def __setattr__(self, name: str, value: Any) -> None:
        """As of any module, but for a weight that is the old one scaled per channel, as fusers of BatchNorm assign it.

        Raises:
            InputError: the binary weight would not be scaled alike, and the network would be another one; or the new
                one is a tensor of another package, as toolkits that quantize real weights assign it.
        """
        if name == 'weight' and isinstance(value, nn.Parameter) and 'weight_binarizer' in vars(self):
            if self.binary_weight and not type(value).__module__.startswith('torch.'):
                raise InputError(
                    f'a 1-bit convolution computes with the signs of its weight, which a {type(value).__name__} is '
                    'not for: leave out the layers that bireal_plugin.binary.binary_convolutions(model) names'
                )
            self._check_scaled(value)
        super().__setattr__(name, value)

    def _check_scaled(self, new: Tensor) -> None:
        old = getattr(self, 'weight', None)
        if old is None or any(type(weight) not in (Tensor, nn.Parameter) for weight in (old, new)):
            return  # a part of it, as FSDP's
        if old.is_meta or new.is_meta or old.shape != new.shape or old[0].numel() == 1:
            return
        if not self.binary_weight or torch.equal(old, new):
            return
        precision = torch.finfo(new.dtype).eps
        old, new = (weight.detach().flatten(1).double() for weight in (old, new))
        largest = old.abs().argmax(1, keepdim=True)
        factor = torch.where(old.gather(1, largest) == 0, 1.0, new.gather(1, largest) / old.gather(1, largest))
        turned = ((old == 0) & (factor < 0)).any()  # 0 has the sign +1 on both sides of it
        scaled = torch.allclose(new, factor * old, rtol=8 * precision, atol=0)
        if scaled and (turned or not self.weight_binarizer.scales_by_channel):
            raise InputError(
                f'a 1-bit convolution computes with {self.weight_binarizer} of its weight, which does not scale as the '
                'weight does: fuse BatchNorm by bireal_plugin.fold(model) or switch_to_deploy(), which are exact, and '
                'by no function for real convolutions'
            )

    def __call__(self, x: Any) -> Any:
        """As of any module; a symbolic trace by torch.fx, or a copy of it, keeps the layer whole as ``nn.Conv2d``."""
        tracer = None if isinstance(x, Tensor) else getattr(x, 'tracer', None)
        if tracer is None:
            return super().__call__(x)
        return tracer.create_proxy('call_module', tracer.path_of_module(self), (x,), {})

    def forward(self, x: Tensor) -> Tensor:
        if not self.binary_input:
            x = self.activation(x)
            if not self.binary_weight:
                return super().forward(x)
        return self.convolve(x, self.bias)

    def convolve(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Convolution of ``x``, or of its sign where the input is binary; no real activation is applied."""
        surrogate = self.surrogate if self.binary_input else None
        binarizer = self.weight_binarizer if self.binary_weight else None
        how = (surrogate, binarizer, self.geometry, compute_dtype(x))
        return _BinaryConvolution.apply(x, self.weight, bias, *how)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        state = f'{"sign" if self.binary_input else "real input"}, {"binary" if self.binary_weight else "real"} weight'
        return f'{super().extra_repr()}, {state}, {self.surrogate}, {self.weight_binarizer}'
