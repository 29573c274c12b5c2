"""Real layers in 8 bits: ranges of their inputs, seen on calibration images, and the rounding of their weights.

An input is ``scale (q - zero)`` with one scale and zero for all of it and q from -127 to 127, a weight ``scale q`` with
a scale for each output channel. Products are summed exactly; the sums become float32, as all that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from bireal_plugin.export.nodes import LayerWriter
from bireal_plugin.export.walk import walk
from bireal_plugin.hosts.torch_private import tree_map_only

aten = torch.ops.aten

MOST = 127
QUANTIZED = (aten.conv2d.default, aten.conv2d.padding, aten.linear.default)


@dataclass(frozen=True)
class Range:
    """The smallest and the largest number of a layer's input."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """The step from one number in 8 bits to the next."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        return float(np.float32((high - low) / (2 * MOST))) or 1.0

    @property
    def zero(self) -> int:
        """The number in 8 bits that stands for 0."""
        return round(-MOST - min(self.low, 0.0) / self.scale)


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A weight ``(O, ...)`` in int8, and the float32 scale of each output channel."""
    largest = np.abs(weight).max(tuple(range(1, weight.ndim)), initial=0, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(MOST), 1).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale.reshape(-1)


def observed(program: ExportedProgram, images: Iterable[np.ndarray]) -> list[Range]:
    """The range of the input of every real convolution and linear layer, in the order in which they are written.

    It is the mean over the images of the extremes in each, which single pixels move little.

    Args:
        program: of one image, as ``walk`` takes it. images: each ``(1, C, H, W)``.
    """
    extremes = [_extremes(program, torch.from_numpy(image)) for image in images]
    return [Range(*map(float, values)) for values in np.mean(extremes, 0).reshape(-1, 2)]


@dataclass(frozen=True, eq=False)
class _Seen:
    """A tensor that depends on the image."""

    tensor: Tensor


class _Layers(Mapping[Any, LayerWriter]):
    """PyTorch's own operators as a table for ``walk``, with a look at the inputs of real layers."""

    def __init__(self, look: Callable[[Tensor], None]) -> None:
        self.look = look

    def __contains__(self, operator: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __getitem__(self, operator: Any) -> LayerWriter:
        def run(shape: Sequence[int], *args: Any, **kwargs: Any) -> _Seen:
            args, kwargs = tree_map_only(_Seen, lambda value: value.tensor, (args, kwargs))
            if operator in QUANTIZED:
                self.look(args[0])
            return _Seen(operator(*args, **kwargs))

        return run


def _extremes(program: ExportedProgram, image: Tensor) -> list[list[float]]:
    found: list[list[float]] = []
    layers = _Layers(lambda x: found.append([float(x.min()), float(x.max())]))
    walk(program, layers, lambda shape: _Seen(image), computed=_Seen, engine='C')
    return found
