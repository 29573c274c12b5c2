"""Eq. 20: the magnitude scale of 1-bit weights moves into the BatchNorm behind them, leaving weights of exactly +-1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.binary.sign import sign
from bireal_plugin.binary.weight import Sign
from bireal_plugin.errors import InputError


def conv_norm_pairs(model: nn.Module) -> list[tuple[str, BinaryConv2d, _BatchNorm]]:
    """Every binary convolution with the normalisation that follows it in definition order.

    Definition order is execution order in ResNets of every library (``conv1, bn1, conv2, bn2``).

    Raises:
        InputError: the next module of a convolution is no BatchNorm over its output channels, or its binary weight is
            not a scale times a sign (ABC-Net); the sentence names it.
    """
    modules = list(model.named_modules())
    pairs = []
    for i, (name, conv) in enumerate(modules):
        if not isinstance(conv, BinaryConv2d):
            continue
        following = next((module for other, module in modules[i + 1 :] if not other.startswith(f'{name}.')), None)
        if not isinstance(following, _BatchNorm) or following.num_features != conv.out_channels:
            raise InputError(
                f'no BatchNorm over {conv.out_channels} channels follows the binary convolution {name!r}, so its '
                'weight scale has nowhere to go; keep weight=MagnitudeAware there'
            )
        try:
            conv.weight_binarizer.scale(conv.weight)
        except InputError as error:
            raise InputError(f'BatchNorm cannot absorb the weights of {name!r}: {error}') from error
        pairs.append((name, conv, following))
    return pairs


@torch.no_grad()
def absorb_scales(model: nn.Module) -> int:
    """Move every weight scale into the BatchNorm behind it and set the weights to exactly +-1, in place.

    ``BN(s c; mu, var)`` equals ``BN(c; mu / s, (var + eps) / s^2 - eps)`` with the same gamma and beta, so the network
    computes what it did. Where that variance would be negative, gamma takes the rest; where s = 0 the channel is the
    constant it was. Of XNOR-Net's scales alpha is absorbed and K, which depends on the input, stays.

    Returns:
        The number of convolutions changed; those without a scale are left alone.
    """
    changed = 0
    for name, conv, norm in conv_norm_pairs(model):
        if not conv.binary_weight:
            raise InputError(f'{name!r} still has real weights; binarize them before absorbing scales')
        scale = conv.weight_binarizer.scale(conv.weight)
        conv.weight.copy_(sign(conv.weight))
        conv.weight_binarizer = Sign()
        if scale is not None:
            _rescale_norm(conv, norm, scale.expand(conv.out_channels, 1, 1, 1).flatten().double())
            changed += 1
    return changed


def _rescale_norm(conv: BinaryConv2d, norm: _BatchNorm, scale: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = norm.running_mean.double(), norm.running_var.double()
    gamma = norm.weight.double() if norm.affine else torch.ones_like(mean)
    beta = norm.bias.double() if norm.affine else torch.zeros_like(mean)
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.double()
    dead = scale == 0
    safe = torch.where(dead, 1.0, scale)
    exact = (var + norm.eps) / safe**2 - norm.eps
    clamped = exact.clamp(min=0)
    if not norm.affine and (dead.any() or (exact < 0).any()):
        raise InputError('a BatchNorm without affine parameters cannot absorb scales that are 0 or that large')

    # All of it is computed before any is written: .double() of a float64 tensor is that tensor.
    gain = torch.sqrt((clamped + norm.eps) / (exact + norm.eps))
    new_gamma = torch.where(dead, 0.0, gamma * gain)
    new_beta = torch.where(dead, beta + gamma * (bias - mean) / torch.sqrt(var + norm.eps), beta)
    new_mean, new_bias = mean / safe, bias / safe
    norm.running_mean.copy_(new_mean)
    norm.running_var.copy_(clamped)
    if norm.affine:
        norm.weight.copy_(new_gamma)
        norm.bias.copy_(new_beta)
    if conv.bias is not None:
        conv.bias.copy_(new_bias)
