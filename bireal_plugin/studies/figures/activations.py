"""Fig. 9: distributions behind every nonlinearity, by the nonlinearity that the network was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import FUNCTIONS
from torch import Tensor, nn

from bireal_plugin.binary import BinaryConv2d, binary_convolutions, sign
from bireal_plugin.binary.activation import REAL_ACTIVATIONS
from bireal_plugin.errors import InputError
from bireal_plugin.shipping.images import spread
from bireal_plugin.studies.figures.style import GREY, new_figure, save, styled
from bireal_plugin.training.config import build_dataset


def nonlinearity(model: nn.Module) -> str | None:
    """'sign', 'relu', 'leaky_clip' or 'clip', as the first binary convolution has it; None where there is none."""
    for _, conv in binary_convolutions(model):
        if conv.binary_input:
            return 'sign'
        return next((name for name, cls in REAL_ACTIVATIONS.items() if type(conv.activation) is cls), None)
    return None


def spread_batch(config: Config, count: int) -> Any:
    """``count`` images of the test data, evenly spaced (folders are sorted by class), collated as the config says.

    Raises:
        InputError: the data cannot be read.
    """
    loader = config.test_dataloader
    dataset = build_dataset(config, loader.dataset)
    options = dict(loader.get('collate_fn', dict(type='pseudo_collate')))
    collate = partial(FUNCTIONS.get(options.pop('type')), **options)
    return collate([dataset[index] for index in spread(len(dataset), count)])


@torch.no_grad()
def activations_of(model: nn.Module, batch: Any, *, most: int = 50_000) -> dict[str, np.ndarray]:
    """Operands of the binary convolutions, by layer: the signs of their inputs, or the real activations of these.

    Args:
        model: an mmengine model, whose ``test_step`` takes ``batch``.
        most: at most about this many values of each layer are kept, evenly spaced.

    Raises:
        InputError: the model has no binary convolutions.
    """
    kept: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(conv: BinaryConv2d, arguments: tuple[Tensor, ...]) -> None:
            values = arguments[0].flatten()
            # A step without small factors, or it would always meet the same columns of the feature maps.
            sample = values[:: max(1, -(-values.numel() // most)) | 1].float()
            behind = sign(sample) if conv.binary_input else conv.activation(sample)
            kept[name.removeprefix('backbone.')] = behind.numpy().copy()

        return hook

    convolutions = dict(binary_convolutions(model))
    if not convolutions:
        raise InputError('the network has no binary convolutions, so there is no sign to look behind')
    with ExitStack() as hooked:
        for name, conv in convolutions.items():
            hooked.enter_context(conv.register_forward_pre_hook(keep(name)))
        model.test_step(batch)  # type: ignore[operator]
    return kept


TITLES = {'relu': 'ReLU', 'leaky_clip': 'leaky clip', 'clip': 'clip', 'sign': 'sign'}
BINS_PER_UNIT = 10  # with an odd number of them around 0 and +-1, where values gather
HEIGHT = 0.9  # of a curve, in rows
NEGATIVE, POSITIVE = '#e8a87c', '#8cbede'


@dataclass(frozen=True)
class Panel:
    """One network: its nonlinearity, its stage's name, and the values behind each nonlinearity by layer."""

    nonlinearity: str
    stage: str
    activations: Mapping[str, np.ndarray]


def negative_share(activations: np.ndarray) -> float:
    """Percentage of activations whose sign is -1."""
    return 100 * float(np.mean(activations < 0))


def draw_activations(panels: Sequence[Panel], stem: Path, *, images: int) -> list[Path]:
    """``stem.png`` and ``stem.svg``: one column per network, one curve per layer, each scaled to its own peak."""
    layers = list(panels[0].activations)
    widest = max(np.quantile(np.abs(values), 0.99) for panel in panels for values in panel.activations.values())
    limit = int(np.clip(np.ceil(widest), 2, 4))
    # Bins are centred on multiples of their width, and the two beside 0 meet there.
    edges = np.arange(-limit - 0.5 / BINS_PER_UNIT, limit + 1 / BINS_PER_UNIT, 1 / BINS_PER_UNIT)
    edges = np.sort(np.append(edges, 0.0))
    with styled():
        figure = new_figure(1.0 + 0.33 * len(layers))
        columns = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
        for axes, panel in zip(columns, panels, strict=True):
            for row, values in enumerate(panel.activations.values()):
                base = len(layers) - 1 - row
                counts, _ = np.histogram(values, bins=edges)
                # Square roots, or the values that gather at 0 and +-1 would leave nothing to be seen of the others.
                density = counts / np.diff(edges)
                top = base + HEIGHT * np.sqrt(density / max(density.max(), 1))
                for side, colour in ((edges[:-1] < 0, NEGATIVE), (edges[:-1] >= 0, POSITIVE)):
                    filled = np.where(side, top, base)
                    axes.stairs(filled, edges, baseline=base, fill=True, color=colour, zorder=2)
                axes.stairs(top, edges, baseline=None, color=GREY, linewidth=0.6, zorder=2)
                share = f'{negative_share(values):.0f} % < 0'
                axes.text(-limit, base + 0.08, share, fontsize=6.5, color='#9c4f1c', zorder=3)
            title = TITLES[panel.nonlinearity]
            stage = '' if panel.stage.replace('_', ' ') == title else f' (stage {panel.stage})'
            axes.set_title(f'{title}{stage}', loc='left')
            axes.set_yticks(range(len(layers)), list(reversed(layers)), fontsize=7)
            axes.tick_params(axis='y', length=0)
            axes.set_xlim(-limit - 0.1, limit)
            axes.set_xticks(range(-limit, limit + 1, 1 if limit < 3 else 2))
            axes.set_ylim(-0.2, len(layers) - 1 + HEIGHT + 0.1)
            axes.grid(axis='y', visible=False)
        figure.supxlabel(
            f'value behind the nonlinearity, {images} test images; heights are square roots of frequencies\n'
            'orange, and the share on the left: values that a sign makes -1; blue: +1',
            fontsize=9,
        )
        return save(figure, stem)
