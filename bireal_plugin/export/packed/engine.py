"""The packed file behind the two calls of an engine; what runs is the reference operator in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.file import RealLayers, load_packed, save_packed


def export_packed(
    model: nn.Module,
    path: str | Path,
    example_shape: Sequence[int],
    *,
    config: Mapping[str, Any],
    real_layers: RealLayers = 'float32',
) -> Path:
    """Write a network to ``path`` (.safetensors), which fits any input shape.

    Args:
        config, real_layers: see ``save_packed``.
    """
    save_packed(model, config, path, real_layers=real_layers)
    return Path(path)


class PackedSession:
    """Runs a packed file in PyTorch, on the CPU.

    Args:
        threads: of the inference, None for PyTorch's own number.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.model = load_packed(path)
        self.threads = threads

    @torch.no_grad()
    def __call__(self, batch: Tensor | np.ndarray) -> list[np.ndarray]:
        x = torch.as_tensor(batch, dtype=torch.float32)
        channels = next(module.in_channels for module in self.model.modules() if isinstance(module, nn.Conv2d))
        if x.dim() != 4 or x.shape[1] != channels:
            raise InputError(f'the network takes inputs (N, {channels}, H, W), not {tuple(x.shape)}')
        with pinned(self.threads):
            return [tensor.numpy() for tensor in flat_outputs(self.model(x))]


@contextmanager
def pinned(threads: int | None) -> Iterator[None]:
    """PyTorch on this many threads, for a while."""
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


def flat_outputs(outputs: Any) -> list[Tensor]:
    """The tensors of a network's output, which is a tensor or tensors nested in tuples and lists.

    Raises:
        InputError: there is anything else in it.
    """
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, (tuple, list)):
        return [tensor for output in outputs for tensor in flat_outputs(output)]
    raise InputError(f'a network to export returns tensors, not {type(outputs).__name__}')
