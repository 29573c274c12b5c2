"""Fig. 8: the weights of every layer before and after binarization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bireal_plugin.binary import binary_convolutions
from bireal_plugin.studies.figures.style import BLUE, ORANGE, new_figure, save, styled


@dataclass(frozen=True)
class LayerWeights:
    """Latent and binarized weights of one layer, flat and in the same order."""

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


COLUMNS = 4
BINS = 81


def draw_weights(layers: Sequence[LayerWeights], stem: Path, *, title: str) -> list[Path]:
    """``stem.png`` and ``stem.svg``: one panel per layer, each histogram scaled to its own peak."""
    rows = -(-len(layers) // COLUMNS)
    with styled():
        figure = new_figure(0.9 + 1.5 * rows)
        panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
        for axes, layer in zip(panels, layers, strict=False):
            limit = 1.15 * max(np.quantile(np.abs(layer.latent), 0.998), np.abs(layer.binary).max())
            edges = np.linspace(-limit, limit, BINS + 1)
            latent, binary = (_shape(values, edges) for values in (layer.latent, layer.binary))
            axes.stairs(latent, edges, fill=True, color=BLUE, alpha=0.45, label='latent weight $W_r$')
            axes.stairs(binary, edges, color=ORANGE, linewidth=1.1, label='binarized weight $W_b$')
            axes.set_title(layer.layer, fontsize=8, pad=2)
            axes.set_yticks([])
            axes.tick_params(labelsize=7)
            axes.locator_params(axis='x', nbins=4)
        for axes in panels[len(layers) :]:
            axes.remove()
        figure.suptitle(f'{title}: weights before and after binarization', x=0.01, ha='left', fontsize=10)
        figure.legend(*panels[0].get_legend_handles_labels(), loc='outside upper right', ncols=2)
        figure.supxlabel('weight', fontsize=9)
        figure.supylabel('relative frequency (peak = 1)', fontsize=9)
        return save(figure, stem)


def _shape(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(values, bins=edges)
    return counts / max(counts.max(), 1)
