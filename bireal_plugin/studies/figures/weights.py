"""Fig. 8: the weights of every layer before and after binarization, by the plain sign and magnitude-aware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bireal_plugin.binary import MagnitudeAware, Sign, binary_convolutions
from bireal_plugin.studies.figures.style import BLUE, ORANGE, new_figure, save, styled


@dataclass(frozen=True)
class LayerWeights:
    """Latent weights of one layer and both ways of binarizing them, flat and in the same order.

    Attributes:
        binarizer: the one that the layer has.
    """

    layer: str
    latent: np.ndarray
    signs: np.ndarray
    scaled: np.ndarray
    binarizer: str

    def alpha(self, binary: np.ndarray) -> float:
        """``||W_b|| / ||W_r||`` in the L1,1 norm (Eq. 9): how much larger the binary weights are."""
        return float(np.abs(binary).sum() / np.abs(self.latent).sum())


@torch.no_grad()
def layer_weights(model: nn.Module) -> list[LayerWeights]:
    """The layers of ``model`` whose weights are binary, in definition order."""
    return [
        LayerWeights(
            name.removeprefix('backbone.'),
            conv.weight.flatten().numpy(),
            Sign()(conv.weight).flatten().numpy(),
            MagnitudeAware()(conv.weight).flatten().numpy(),
            type(conv.weight_binarizer).__name__,
        )
        for name, conv in binary_convolutions(model)
        if conv.binary_weight
    ]


def has_latent_weights(layers: Sequence[LayerWeights]) -> bool:
    """False where there is no layer, or all weights are exactly +-1 since their scales were absorbed."""
    return any((np.abs(layer.latent) != 1).any() for layer in layers)


HALVES = {'Sign': 'plain sign', 'MagnitudeAware': 'magnitude-aware'}
ACROSS = 2  # layers in a row, each with both halves
BINS = 81


def draw_weights(layers: Sequence[LayerWeights], stem: Path, *, title: str) -> list[Path]:
    """``stem.png`` and ``stem.svg``: two panels per layer, each histogram scaled to its own peak."""
    rows = -(-len(layers) // ACROSS)
    with styled():
        figure = new_figure(1.2 + 1.15 * rows)
        panels = figure.subplots(rows, 2 * ACROSS, squeeze=False).flatten()
        for i, layer in enumerate(layers):
            for half, binary in enumerate((layer.signs, layer.scaled)):
                axes = panels[2 * i + half]
                limit = 1.15 * max(np.quantile(np.abs(layer.latent), 0.998), np.abs(binary).max())
                edges = np.linspace(-limit, limit, BINS + 1)
                axes.stairs(
                    _shape(layer.latent, edges), edges, fill=True, color=BLUE, alpha=0.45, label='latent weight $W_r$'
                )
                axes.stairs(_shape(binary, edges), edges, color=ORANGE, linewidth=1.1, label='binarized weight $W_b$')
                how = ('sign', 'magnitude-aware')[half]
                axes.set_title(f'{layer.layer}, {how}\n$\\alpha$ = {layer.alpha(binary):.3g}', fontsize=7, pad=2)
                axes.set_yticks([])
                axes.tick_params(labelsize=7)
                axes.locator_params(axis='x', nbins=4)
        for axes in panels[2 * len(layers) :]:
            axes.remove()
        trained = sorted({HALVES.get(layer.binarizer, layer.binarizer) for layer in layers})
        figure.suptitle(f'{title}: weights before and after binarization', x=0.01, ha='left', fontsize=10)
        figure.legend(*panels[0].get_legend_handles_labels(), loc='outside upper right', ncols=2)
        figure.supxlabel(
            f'weight; of each pair left by the plain sign, right magnitude-aware; trained with: {", ".join(trained)}\n'
            r'$\alpha$: how much larger $W_b$ is than $W_r$ (L1,1 norms, Eq. 9)',
            fontsize=9,
        )
        figure.supylabel('relative frequency (peak = 1)', fontsize=9)
        return save(figure, stem)


def _shape(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(values, bins=edges)
    return counts / max(counts.max(), 1)
