"""Fig. 9: distributions in front of every sign, by the nonlinearity that the network was trained with."""

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

from bireal_plugin.binary import binary_convolutions
from bireal_plugin.binary.activation import REAL_ACTIVATIONS
from bireal_plugin.errors import InputError
from bireal_plugin.shipping.images import spread
from bireal_plugin.studies.figures.style import BLUE, new_figure, save, styled
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
def layer_inputs(model: nn.Module, batch: Any, *, most: int = 50_000) -> dict[str, np.ndarray]:
    """The inputs of every binary convolution, before its sign or real activation, by layer.

    Args:
        model: an mmengine model, whose ``test_step`` takes ``batch``.
        most: at most about this many values of each layer are kept, evenly spaced.

    Raises:
        InputError: the model has no binary convolutions.
    """
    inputs: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(conv: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            values = arguments[0].flatten()
            # A step without small factors, or it would always meet the same columns of the feature maps.
            step = max(1, -(-values.numel() // most)) | 1
            inputs[name.removeprefix('backbone.')] = values[::step].float().numpy().copy()

        return hook

    convolutions = dict(binary_convolutions(model))
    if not convolutions:
        raise InputError('the network has no binary convolutions, so there is no sign to look in front of')
    with ExitStack() as hooked:
        for name, conv in convolutions.items():
            hooked.enter_context(conv.register_forward_pre_hook(keep(name)))
        model.test_step(batch)  # type: ignore[operator]
    return inputs


TITLES = {'relu': 'ReLU', 'leaky_clip': 'leaky clip', 'clip': 'clip', 'sign': 'sign'}
BINS_PER_UNIT = 10  # so that bins end at 0 and 1, where gates do
OVERLAP = 1.5  # height of a curve in rows


@dataclass(frozen=True)
class Panel:
    """One network: its nonlinearity, its stage's name, and the values in front of each nonlinearity by layer."""

    nonlinearity: str
    stage: str
    inputs: Mapping[str, np.ndarray]


def passes_gradient(nonlinearity: str, x: np.ndarray) -> np.ndarray:
    """Mask of inputs whose gradient passes: x > 0 for ReLU, |x| < 1 for all others."""
    return x > 0 if nonlinearity == 'relu' else np.abs(x) < 1


def draw_activations(panels: Sequence[Panel], stem: Path, *, images: int) -> list[Path]:
    """``stem.png`` and ``stem.svg``: one column per network, one curve per layer, each scaled to its own peak."""
    layers = list(panels[0].inputs)
    widest = max(np.quantile(np.abs(values), 0.99) for panel in panels for values in panel.inputs.values())
    limit = int(np.clip(np.ceil(widest), 2, 4))
    edges = np.linspace(-limit, limit, 2 * limit * BINS_PER_UNIT + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    with styled():
        figure = new_figure(1.0 + 0.33 * len(layers))
        columns = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
        for axes, panel in zip(columns, panels, strict=True):
            opened = passes_gradient(panel.nonlinearity, centres)
            for row, values in enumerate(panel.inputs.values()):
                base = len(layers) - 1 - row
                counts, _ = np.histogram(values, bins=edges)
                top = base + OVERLAP * counts / max(counts.max(), 1)
                # Upper layers first, so that the lower ones, whose curves reach up, stand in front.
                axes.stairs(top, edges, baseline=base, fill=True, color='#e2e2e2', zorder=row + 2)
                inside = np.where(opened, top, base)
                axes.stairs(inside, edges, baseline=base, fill=True, color='#8cbede', zorder=row + 2)
                axes.stairs(top, edges, baseline=None, color=BLUE, linewidth=0.8, zorder=row + 2)
            title = TITLES[panel.nonlinearity]
            stage = '' if panel.stage.replace('_', ' ') == title else f' (stage {panel.stage})'
            axes.set_title(f'{title}{stage}', loc='left')
            axes.set_yticks(range(len(layers)), list(reversed(layers)), fontsize=7)
            axes.tick_params(axis='y', length=0)
            axes.set_xlim(-limit, limit)
            axes.set_xticks(range(-limit, limit + 1, 1 if limit < 3 else 2))
            axes.set_ylim(-0.2, len(layers) - 1 + OVERLAP + 0.1)
            axes.grid(axis='y', visible=False)
        leak = ' (a tenth of it passes a leaky clip)' if any(p.nonlinearity == 'leaky_clip' for p in panels) else ''
        figure.supxlabel(
            f'value in front of the nonlinearity, {images} test images\n'
            f'blue: the gradient passes; grey: it is stopped{leak}',
            fontsize=9,
        )
        return save(figure, stem)
