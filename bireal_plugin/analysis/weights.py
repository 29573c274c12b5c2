"""The weights of binary convolutions before and after binarization (Fig. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bireal_plugin.binary import binary_convolutions


@dataclass(frozen=True)
class LayerWeights:
    """One layer's latent weights, and what its convolution multiplies by; both flat, in the same order."""

    layer: str
    latent: np.ndarray
    binary: np.ndarray


@torch.no_grad()
def layer_weights(model: nn.Module) -> list[LayerWeights]:
    """The layers of ``model`` whose weights are binary, in definition order."""
    return [
        LayerWeights(
            name.removeprefix('backbone.'),
            conv.weight.flatten().numpy(),
            conv.weight_binarizer(conv.weight).flatten().numpy(),
        )
        for name, conv in binary_convolutions(model)
        if conv.binary_weight
    ]


def has_latent_weights(layers: Sequence[LayerWeights]) -> bool:
    """False where there is no layer, or all weights are exactly +-1 since their scales were absorbed."""
    return any((np.abs(layer.latent) != 1).any() for layer in layers)
