"""Eq. 20: the magnitude scale of 1-bit weights moves into the BatchNorm behind them; the weights become exactly +-1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.binary.sign import sign
from bireal_plugin.binary.switch import binary_convolutions
from bireal_plugin.binary.weight import Sign
from bireal_plugin.errors import InputError
from bireal_plugin.folding.norm_pairs import norm_pairs
from bireal_plugin.hosts.torch_private import BatchNorm


def conv_norm_pairs(
    model: nn.Module, example_shape: Sequence[int] | None = None
) -> list[tuple[str, BinaryConv2d, BatchNorm]]:
    """Every binary convolution with its name and the BatchNorm that its scale can move into, see ``norm_pairs``.

    Args:
        example_shape: ``(N, C, H, W)`` of an input, for the dry run that finds the pairs.

    Raises:
        InputError: the output of a convolution is read by something else than one BatchNorm, or its binary weight is
            not a scale times a sign (ABC-Net); the sentence names it. Or the dry run fails.
    """
    convs = list(binary_convolutions(model))
    norms = _norms_of([name for name, _ in convs], model, example_shape) if convs else {}
    pairs = []
    for name, conv in convs:
        if name not in norms:
            raise InputError(
                f'the output of the binary convolution {name!r} is not read by one BatchNorm and nothing else, so its '
                'weight scale has nowhere to go; keep weight=MagnitudeAware there'
            )
        try:
            conv.weight_binarizer.scale(conv.weight)
        except InputError as error:
            raise InputError(f'BatchNorm cannot absorb the weights of {name!r}: {error}') from error
        norm = model.get_submodule(norms[name])
        assert isinstance(norm, BatchNorm)
        pairs.append((name, conv, norm))
    return pairs


def _norms_of(convs: Sequence[str], model: nn.Module, example_shape: Sequence[int] | None) -> dict[str, str]:
    """``norm_pairs`` of the outermost part of ``model`` that holds all of ``convs`` and runs on an image.

    A two-stage detector, for example, does not run on an image alone; its backbone does.
    """
    prefixes = [f'{name}.' if name else '' for name, _ in model.named_modules()]
    refusals = []
    for prefix in prefixes:
        if all(conv.startswith(prefix) for conv in convs):
            try:
                pairs = norm_pairs(model.get_submodule(prefix[:-1]), example_shape)
            except InputError as error:
                refusals.append(error)
            else:
                return {prefix + conv: prefix + norm for conv, norm in pairs.items()}
    raise refusals[0]


@torch.no_grad()
def absorb_scales(model: nn.Module, example_shape: Sequence[int] | None = None) -> int:
    """Move every weight scale into the BatchNorm behind it and set the weights to exactly +-1, in place.

    ``BN(s c; mu, var)`` equals ``BN(c; mu / s, (var + eps) / s^2 - eps)`` with the same gamma and beta, so the network
    computes what it did. Where that variance would be negative it is 0 and gamma takes the remaining factor; a channel
    with s = 0 stays the constant it was. Of XNOR-Net's scales alpha is absorbed and K, which depends on the input,
    stays.

    Args:
        example_shape: see ``conv_norm_pairs``.

    Returns:
        The number of convolutions changed; those without a scale are left alone.

    Raises:
        InputError: as ``conv_norm_pairs``; or weights are still real, or a BatchNorm without affine parameters cannot
            take the scale. Nothing is changed then.
    """
    pairs = conv_norm_pairs(model, example_shape)
    changes: list[tuple[Tensor, Tensor]] = []
    changed = 0
    for name, conv, norm in pairs:
        if not conv.binary_weight:
            raise InputError(f'{name!r} still has real weights; binarize them before absorbing scales')
        scale = conv.weight_binarizer.scale(conv.weight)
        if scale is not None:
            changes += _rescaled(name, conv, norm, scale.expand(conv.out_channels, 1, 1, 1).flatten().double())
            changed += 1
    for tensor, value in changes:
        tensor.copy_(value)
    for _, conv, _ in pairs:
        conv.weight.copy_(sign(conv.weight))
        conv.weight_binarizer = Sign()
    return changed


def _rescaled(name: str, conv: BinaryConv2d, norm: BatchNorm, scale: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Tensors of ``norm`` and the bias of ``conv``, each with its value once ``scale`` is no longer in the weights."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = norm.running_mean.double(), norm.running_var.double()
    dead = scale == 0
    safe = torch.where(dead, 1.0, scale)
    exact = (var + norm.eps) / safe**2 - norm.eps
    clamped = exact.clamp(min=0)
    if not norm.affine and (dead.any() or (exact < 0).any()):
        raise InputError(
            f'the BatchNorm behind {name!r} has no affine parameters and cannot absorb scales that are 0 or that large'
        )
    yield norm.running_mean, mean / safe
    yield norm.running_var, clamped
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.double()
    if norm.affine:
        gamma, beta = norm.weight.double(), norm.bias.double()
        gain = torch.sqrt((clamped + norm.eps) / (exact + norm.eps))
        yield norm.weight, torch.where(dead, 0.0, gamma * gain)
        yield norm.bias, torch.where(dead, beta + gamma * (bias - mean) / torch.sqrt(var + norm.eps), beta)
    if conv.bias is not None:
        yield conv.bias, bias / safe
