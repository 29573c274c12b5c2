"""Layer-by-layer comparison of an artefact with the folded network, on tensors read from inside the artefact.

The reference computes each layer from the tensor that the engine had there (``EngineSession.tap`` reads it), so that a
flipped sign in one layer cannot spoil the comparison of the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.binary.sign import sign
from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import Tapped, flat_outputs
from bireal_plugin.folding.layers import FoldedBinaryConv2d
from bireal_plugin.folding.operator import unpack_signs


def both_sides(pairs: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Choice of all inputs and outputs: x0, y0, x1, y1, ..."""
    return [value for pair in pairs for value in pair]


def inputs_apart(pairs: Sequence[tuple[Any, Any]], *, start: int, step: int) -> list[Any]:
    """Choice of the inputs of layers ``start``, ``start + step``, ...; the engine fuses the operators between."""
    return [x for x, _ in pairs[start::step]]


# One 1-bit layer inside an engine. x: operand of the sign, (N, C, H, W); channels behind the layer's own are padding.
# y: an affine function per channel of the convolution of signs, (N, O, H', W'): before, after or within the folded
# affine map, which engines fuse with what follows.
Reading = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LayerComparison:
    """Distance of an engine's tensors from the folded network's, each computed from the engine's own earlier ones.

    Attributes:
        layer_error: largest error of a 1-bit layer's output, in the units of that output.
        layer_share: the same in parts of the range of that layer's output.
        real_share: largest error of the operations between 1-bit layers (their affine maps and all real layers), seen
            in the next one's input or the network's output, in parts of its range.
        usual_share: the same where 99.9 % of a tensor's values are nearer: int8 cuts off the few that are beyond what
            was calibrated. Tensors of less than 1 000 values, such as the classes of few images, are left out.
        signs: number of inputs of 1-bit layers. flips: those of another sign than where the reference runs by itself.
        order: for each of the network's 1-bit layers, in the order of its calls, the place among the readings.
    """

    layer_error: float
    layer_share: float
    real_share: float
    usual_share: float
    signs: int
    flips: int
    order: tuple[int, ...]


@torch.no_grad()
def compare_layers(model: nn.Module, batches: Sequence[np.ndarray], session: Tapped) -> LayerComparison:
    """Compare an engine's inner tensors and outputs on ``batches`` with the folded network ``model``.

    Args:
        session: reads both sides of every 1-bit layer.

    Raises:
        InputError: the artefact's 1-bit layers are not as many as the network's, or of other shapes.
    """
    # Together, since a batch of few pixels leaves the affine maps too free.
    image, outputs, tensors = _joined(batches, session)
    left = dict(enumerate(zip(tensors[::2], tensors[1::2], strict=True)))
    signs: list[Tensor] = []
    _run(model, image, lambda _layer, given, _output: signs.append(given[0] >= 0))
    errors, shares, real, usual, flips = [0.0], [0.0], [0.0], [0.0], 0
    order: list[int] = []

    def follow(layer: nn.Module, given: tuple[Tensor], output: Tensor) -> Tensor:
        nonlocal flips
        assert isinstance(layer, FoldedBinaryConv2d)
        place = _nearest(left, layer, given[0], output.shape)
        x, y = left.pop(place)
        x = x[:, : layer.in_channels]
        correlation = _correlation(layer, x)
        errors.append(_affine_residual(y, correlation))
        shares.append(_share(errors[-1], y))
        real.append(_share(float((x - given[0]).abs().max()), given[0]))
        usual.append(_share(_usual(x - given[0]), given[0]))
        flips += int(((x >= 0) != signs[len(order)]).sum())
        order.append(place)
        return _affine(layer, correlation)

    wanted = flat_outputs(_run(model, image, follow))
    if left:
        raise InputError(f'the artefact has {len(left)} 1-bit layers more than the network')
    for got, want in zip(outputs, wanted, strict=True):
        real.append(_share(float((got - want).abs().max()), want))
        usual.append(_share(_usual(got - want), want))
    # numpy's maximum keeps a NaN, Python's may lose it.
    return LayerComparison(
        layer_error=float(np.max(errors)),
        layer_share=float(np.max(shares)),
        real_share=float(np.max(real)),
        usual_share=float(np.max(usual)),
        signs=sum(part.numel() for part in signs),
        flips=flips,
        order=tuple(order),
    )


@torch.no_grad()
def fused_error(
    model: nn.Module, batches: Sequence[np.ndarray], session: Tapped, *, places: Mapping[int, int]
) -> float:
    """Largest ``|a - b| / |b|`` of the tensors that ``session`` reads, and of the network's outputs.

    Reading a tensor keeps an engine from fusing the operators on both sides. Here only some are read, so that operators
    between them run as in use; the reference follows the engine at these alone.

    Args:
        session: reads the inputs of some 1-bit layers.
        places: for these layers, in the order of the network's calls, the place among the tensors read.
    """
    image, outputs, tensors = _joined(batches, session)
    errors: list[float] = []
    calls = itertools.count()

    def follow(layer: nn.Module, given: tuple[Tensor], output: Tensor) -> Tensor:
        assert isinstance(layer, FoldedBinaryConv2d)
        call = next(calls)
        if call not in places:
            return output
        x = tensors[places[call]][:, : layer.in_channels]
        errors.append(_distance(x, given[0]))
        return _affine(layer, _correlation(layer, x))

    wanted = flat_outputs(_run(model, image, follow))
    errors += [_distance(got, want) for got, want in zip(outputs, wanted, strict=True)]
    return float(np.max(errors))


def _joined(batches: Sequence[np.ndarray], session: Tapped) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    outputs, tensors = (
        [torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True)]
        for parts in zip(*(session(batch) for batch in batches), strict=True)
    )
    return torch.from_numpy(np.concatenate(batches)), outputs, tensors


def _run(model: nn.Module, image: Tensor, hook: Any) -> Any:
    with ExitStack() as hooked:
        for layer in model.modules():
            if isinstance(layer, FoldedBinaryConv2d):
                hooked.enter_context(layer.register_forward_hook(hook))
        return model(image)


def _nearest(left: Mapping[int, Reading], layer: FoldedBinaryConv2d, x: Tensor, shape: torch.Size) -> int:
    """Index in ``left`` of the reading of ``layer``: of those with its shapes, the one whose input is nearest to ``x``.

    The order of an engine's layers is any that its graph allows. The inputs tell them apart, since the reference has
    followed the engine up to here; layers with one input are told apart by their outputs.
    """
    distances = {
        place: float((theirs[:, : x.shape[1]] - x).abs().max())
        for place, (theirs, y) in left.items()
        if theirs[:, : x.shape[1]].shape == x.shape and y.shape == shape
    }
    if not distances:
        raise InputError(f'the artefact has no 1-bit layer from {tuple(x.shape)} to {tuple(shape)}, or too few of them')
    nearest = [place for place, distance in distances.items() if not distance > min(distances.values())]
    if len(nearest) > 1:
        correlation = _correlation(layer, x)
        nearest.sort(key=lambda place: _affine_residual(left[place][1], correlation))
    return nearest[0]


def _affine(layer: FoldedBinaryConv2d, correlation: Tensor) -> Tensor:
    return correlation * layer.scale.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)


def _distance(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm().clamp(min=torch.finfo(torch.float32).tiny))


def _correlation(layer: FoldedBinaryConv2d, x: Tensor) -> Tensor:
    """``conv2d(sign(x), +-1 weight)``: integers, exact in float32."""
    weight = unpack_signs(layer.packed_weight, layer.in_channels // layer.groups)
    return F.conv2d(sign(x), weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def _affine_residual(y: Tensor, correlation: Tensor) -> float:
    """Largest distance of ``y`` from the nearest affine function of ``correlation`` in each channel (least squares)."""
    values, exact = (tensor.double().transpose(0, 1).flatten(1) for tensor in (y, correlation))
    values = values - values.mean(1, keepdim=True)
    exact = exact - exact.mean(1, keepdim=True)
    slope = (values * exact).sum(1, keepdim=True) / exact.square().sum(1, keepdim=True).clamp(min=1e-30)
    return float((values - slope * exact).abs().max())


def _usual(difference: Tensor) -> float:
    """Absolute difference below which 99.9 % of the values are, NaN being the largest; 0 of less than 1 000 values."""
    count = difference.numel()
    return 0.0 if count < 1000 else float(difference.abs().flatten().sort().values[count * 999 // 1000])


def _share(error: float, values: Tensor) -> float:
    """``error`` in parts of the range of ``values``."""
    extent = float(values.max() - values.min())
    return 0.0 if error == 0 else error / max(extent, torch.finfo(torch.float32).tiny)
