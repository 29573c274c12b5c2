"""Fold a trained network for inference: +-1 weights, one affine map per channel, real convolutions without BatchNorm.

After folding, ``bireal::binary_conv2d`` is the only 1-bit operation in the model; its layers are in ``layers.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, WeightBases, XNORConv2d
from bireal_plugin.binary.conv import arguments_of
from bireal_plugin.binary.weight import WeightBinarizer
from bireal_plugin.errors import InputError
from bireal_plugin.folding.layers import FoldedABCConv2d, FoldedBinaryConv2d, FoldedXNORConv2d
from bireal_plugin.folding.norm_pairs import convolutions, norm_pairs
from bireal_plugin.hosts.torch_private import BatchNorm, move_hooks


def fold(model: nn.Module, example_shape: Sequence[Any] | None = None) -> nn.Module:
    """A folded copy of ``model`` in evaluation mode; ``model`` itself is unchanged. See ``fold_``."""
    return fold_(copy.deepcopy(model), example_shape)


@torch.no_grad()
def fold_(model: nn.Module, example_shape: Sequence[Any] | None = None) -> nn.Module:
    """Fold ``model`` in place: every convolution takes in the BatchNorm that reads its output, and nothing else does.

    ``gamma < 0``, ``gamma = 0``, convolution biases and convolutions without BatchNorm are all legal. GroupNorm, and
    BatchNorm without running statistics or whose input is used elsewhere too, by a hook as well, stay as they are.
    XNOR-Net keeps K, which depends on the input, and ABC-Net its M x N coefficients. A folded model is left as it is.

    Afterwards the model is in evaluation mode and no parameter requires a gradient, since ``bireal::binary_conv2d`` has
    no backward.

    Args:
        example_shape: ``(N, C, H, W)`` of an input, or several, for the dry run that finds the pairs; by default timm's
            ``default_cfg``, else the first convolution's channels at 224 x 224.

    Raises:
        InputError: a layer is not binary in both operands or has no folded form, or the dry run fails; nothing is
            changed then.
    """
    convs = dict(convolutions(model))
    for name, conv in convs.items():
        if isinstance(conv, BinaryConv2d):
            _check_foldable(name, conv)
    pairs = norm_pairs(model, example_shape)
    folded: dict[nn.Module, nn.Module] = {}
    for name, conv in convs.items():
        norm = model.get_submodule(pairs[name]) if name in pairs else None
        assert norm is None or isinstance(norm, BatchNorm)
        multiplier, offset = _affine(conv, norm)
        if isinstance(conv, BinaryConv2d):
            folded[conv] = _folded_binary(conv, multiplier, offset)
        elif norm is not None:
            folded[conv] = _folded_real(conv, multiplier, offset)
        if norm is not None:
            folded[norm] = nn.Identity()
            move_hooks(norm, folded[norm])
        if conv in folded:
            move_hooks(conv, folded[conv])
    # A module may have several names.
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if name and module in folded:
            parent, _, child = name.rpartition('.')
            setattr(model.get_submodule(parent), child, folded[module])
    result = folded.get(model, model)
    result.eval()  # returns None where a model overrides train() as mmdet's ResNet does
    return result.requires_grad_(False)


def _check_foldable(name: str, conv: BinaryConv2d) -> None:
    where = name or 'the convolution'
    if not (conv.binary_input and conv.binary_weight):
        raise InputError(f'{where} is not binary yet ({conv.extra_repr()}); fold the network of the last stage')
    binarizer = conv.weight_binarizer
    base = next(cls for cls in (ABCConv2d, XNORConv2d, BinaryConv2d) if isinstance(conv, cls))
    if any(getattr(type(conv), name) is not getattr(base, name) for name in ('__call__', 'forward', 'convolve')):
        raise InputError(f'{where} is a {type(conv).__name__} with a forward of its own, which has no folded form')
    is_scaled_sign = type(binarizer).__call__ is WeightBinarizer.__call__
    if not (isinstance(binarizer, WeightBases) if isinstance(conv, ABCConv2d) else is_scaled_sign):
        raise InputError(f'{where} has no folded form: its weights by {binarizer} are not a scale times a sign')
    if not conv.weight.is_meta and conv.weight.isnan().any():
        raise InputError(f'{where} has weights that are NaN, which have no sign; take an earlier checkpoint')
    try:
        conv.zero_padding  # noqa: B018  raises where the two sides differ
    except InputError as error:
        raise InputError(f'{where} has no folded form: {error}') from error


def _folded_binary(conv: BinaryConv2d, multiplier: Tensor, offset: Tensor) -> nn.Module:
    if isinstance(conv, ABCConv2d):
        return FoldedABCConv2d(conv, multiplier, offset)
    scale = conv.weight_binarizer.scale(conv.weight)
    if scale is not None:
        multiplier = multiplier * scale.double().flatten()
    return (FoldedXNORConv2d if isinstance(conv, XNORConv2d) else FoldedBinaryConv2d)(conv, multiplier, offset)


def _affine(conv: nn.Conv2d, norm: BatchNorm | None) -> tuple[Tensor, Tensor]:
    """Multiplier and offset ``(O,)`` in float64 that replace the convolution's bias and the BatchNorm behind it."""
    ones = torch.ones(conv.out_channels, dtype=torch.float64, device=conv.weight.device)
    bias = torch.zeros_like(ones) if conv.bias is None else conv.bias.double()
    if norm is None:
        return ones, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gamma, beta = (norm.weight.double(), norm.bias.double()) if norm.affine else (ones, torch.zeros_like(ones))
    multiplier = gamma / torch.sqrt(norm.running_var.double() + norm.eps)
    return multiplier, beta + multiplier * (bias - norm.running_mean.double())


def _folded_real(conv: nn.Conv2d, multiplier: Tensor, offset: Tensor) -> nn.Conv2d:
    arguments = {**arguments_of(conv), 'bias': True, 'device': conv.weight.device, 'dtype': conv.weight.dtype}
    folded = nn.utils.skip_init(nn.Conv2d, **arguments)
    folded.weight.data.copy_(conv.weight.double() * multiplier.view(-1, 1, 1, 1))
    folded.bias.data.copy_(offset)
    return folded
