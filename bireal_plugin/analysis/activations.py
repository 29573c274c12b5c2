"""What stands in front of every sign, and in front of the real activation in its place before (Fig. 9)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, FUNCTIONS, DefaultScope
from torch import Tensor, nn

from bireal_plugin.binary import binary_convolutions
from bireal_plugin.binary.activation import REAL_ACTIVATIONS
from bireal_plugin.errors import InputError
from bireal_plugin.training.config import config_mistakes


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
    with (
        config_mistakes(str(config.filename)),
        DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmengine')),
    ):
        dataset = DATASETS.build(loader.dataset)
    options = dict(loader.get('collate_fn', dict(type='pseudo_collate')))
    collate = partial(FUNCTIONS.get(options.pop('type')), **options)
    indices = np.unique(np.linspace(0, len(dataset) - 1, num=count).round().astype(int))
    return collate([dataset[index] for index in indices.tolist()])


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

    handles = [conv.register_forward_pre_hook(keep(name)) for name, conv in binary_convolutions(model)]
    if not handles:
        raise InputError('the network has no binary convolutions, so there is no sign to look in front of')
    try:
        model.test_step(batch)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return inputs
