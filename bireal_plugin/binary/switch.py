"""Switches for all binary convolutions of a model: the activation before them, and which weights are binary.

Only plain attributes and activations without parameters change, so an optimizer or DDP wrapper built before stays
valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from torch import nn

from bireal_plugin.binary.activation import REAL_ACTIVATIONS, build_activation
from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.errors import InputError

WeightStep = Literal['real', 'step1', 'binary']
PHASES = (*REAL_ACTIVATIONS, 'step1', 'step2', 'bn')  # of the two-step scheme, in their order


def binary_convolutions(model: nn.Module) -> Iterator[tuple[str, BinaryConv2d]]:
    """``(name, module)`` of every BinaryConv2d, in definition order."""
    for name, module in model.named_modules():
        if isinstance(module, BinaryConv2d):
            yield name, module


def latent_weights(model: nn.Module) -> set[str]:
    """Names of the weights of which only signs count, which weight decay must leave alone; none of a real network."""
    convs = dict(binary_convolutions(model))
    is_real = not any(conv.binary_input or conv.binary_weight for conv in convs.values())
    return set() if is_real else {f'{name}.weight' for name in convs}


def set_phase(model: nn.Module, phase: str) -> None:
    """Switch activation and weights to one of ``PHASES``: real, then binary in two steps, then of +-1 ('bn')."""
    real = phase in REAL_ACTIVATIONS
    set_activation(model, phase if real else 'sign')
    set_weights(model, 'real' if real else 'step1' if phase == 'step1' else 'binary')


def set_activation(model: nn.Module, activation: str) -> None:
    """Give every binary convolution the sign ('sign') or a real activation ('relu', 'leaky_clip', 'clip')."""
    _refuse_folded(model)
    for _, conv in binary_convolutions(model):
        conv.binary_input = activation == 'sign'
        conv.activation = nn.Identity() if activation == 'sign' else build_activation(activation)


def _refuse_folded(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if hasattr(module, 'packed_weight'):
            raise InputError(
                f'{name or "the layer"} is folded: its signs are fixed; switch the network before fold() or '
                'switch_to_deploy()'
            )


def set_weights(model: nn.Module, step: WeightStep) -> None:
    """Make weights 'real', 'binary', or binary in 1x1 convolutions alone: 'step1' of two steps (Sec. 3.4.4)."""
    if step not in get_args(WeightStep):
        raise InputError(f"weights is 'real', 'step1' or 'binary', not {step!r}")
    _refuse_folded(model)
    for _, conv in binary_convolutions(model):
        conv.binary_weight = step == 'binary' or (step == 'step1' and conv.kernel_size == (1, 1))
