"""Fig. 1: what passes from one 1-bit convolution to the next, with the real shortcut and without."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bireal_plugin.binary import BinaryConv2d, binary_convolutions
from bireal_plugin.studies.figures.style import new_figure, save, styled

SMALLEST = 4  # px: maps below it show nothing
MOST = 5  # columns
LEVELS = 10_000  # values nearer than this part of their range count as one


@dataclass(frozen=True)
class FeatureMap:
    """One channel between two 1-bit convolutions, of one image.

    Attributes:
        layer: the convolution in front. branch: its output behind BatchNorm. summed: with the shortcut, as the next
            sign gets it.
        branch_values, summed_values: number of values that the channel takes in all images.
    """

    layer: str
    branch: np.ndarray
    summed: np.ndarray
    branch_values: int
    summed_values: int


@torch.no_grad()
def feature_maps(model: nn.Module, batch: Any) -> list[FeatureMap]:
    """Maps of the first image of ``batch``, of up to MOST layers from shallow to deep; the channel that varies most.

    Layers whose BatchNorm is not called as in ResNet (``conv1`` and ``bn1``), or whose maps are tiny, are left out.
    """
    modules = dict(model.named_modules())
    order: list[str] = []
    inputs: dict[str, Tensor] = {}
    branches: dict[str, Tensor] = {}

    def before(name: str) -> Any:
        def hook(conv: BinaryConv2d, arguments: tuple[Tensor, ...]) -> None:
            order.append(name)
            inputs[name] = arguments[0].float().clone()

        return hook

    def behind(name: str) -> Any:
        def hook(norm: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            branches[name] = output.float().clone()

        return hook

    with ExitStack() as hooked:
        for name, conv in binary_convolutions(model):
            hooked.enter_context(conv.register_forward_pre_hook(before(name)))
            norm = modules.get('bn'.join(name.rsplit('conv', 1)))
            if norm is not None and norm is not conv:
                hooked.enter_context(norm.register_forward_hook(behind(name)))
        model.test_step(batch)  # type: ignore[operator]
    found = []
    for name, following in pairwise(order):
        branch, summed = branches.get(name), inputs[following]
        if branch is not None and branch.shape == summed.shape and min(summed.shape[2:]) >= SMALLEST:
            found.append(_of_layer(name.removeprefix('backbone.'), branch, summed))
    chosen = np.linspace(0, len(found) - 1, min(MOST, len(found))).round().astype(int)
    return [found[i] for i in chosen]


def _of_layer(layer: str, branch: Tensor, summed: Tensor) -> FeatureMap:
    channel = int(summed[0].flatten(1).std(1).argmax())
    one, other = branch[:, channel].numpy(), summed[:, channel].numpy()
    return FeatureMap(layer, one[0], other[0], count_values(one), count_values(other))


def count_values(values: np.ndarray) -> int:
    """Number of different values, without regard to rounding."""
    spread = float(np.ptp(values)) or 1.0
    return len(np.unique(np.round((values - values.min()) * (LEVELS / spread))))


def draw_feature_maps(maps: Sequence[FeatureMap], stem: Path, *, title: str) -> list[Path]:
    """``stem.png`` and ``stem.svg``: one column per layer; what is left without the shortcut above, with it below."""
    rows = (
        'sign of the branch:\nall that a 1-bit network\nwithout shortcut keeps',
        'branch alone',
        'branch + shortcut',
    )
    with styled():
        figure = new_figure(6.0)
        panels = figure.subplots(3, len(maps), squeeze=False)
        for column, each in enumerate(maps):
            signs = np.where(each.branch < 0, -1.0, 1.0)
            pictures = ((signs, 2), (each.branch, each.branch_values), (each.summed, each.summed_values))
            for axes, (picture, values) in zip(panels[:, column], pictures, strict=True):
                axes.imshow(picture, cmap='gray')
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_xlabel(f'{values} values', fontsize=8)
            panels[0, column].set_title(each.layer, fontsize=8)
        for axes, text in zip(panels[:, 0], rows, strict=True):
            axes.set_ylabel(text, fontsize=8)
        figure.suptitle(f'{title}: between two signs, without and with the shortcut', x=0.01, ha='left', fontsize=10)
        figure.supxlabel('values: how many different ones the channel takes in all test images looked at', fontsize=9)
        return save(figure, stem)
