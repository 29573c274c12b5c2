"""The packed file as an engine; PyTorch's reference of the 1-bit operator runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bireal_plugin.export.packed.file import open_packed, save_packed
from bireal_plugin.export.session_io import Choice, EngineSession, Precision, Tapped, flat_outputs, pinned
from bireal_plugin.folding.layers import FoldedBinaryConv2d


def export_packed(
    model: nn.Module,
    path: str | Path,
    example_shape: Sequence[int],
    *,
    config: Mapping[str, Any],
    real_layers: Precision = 'f32',
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a network to ``path`` (.safetensors), which fits any input shape; the options are ``save_packed``'s."""
    save_packed(model, config, path, real_layers=real_layers, metadata=metadata)
    return Path(path)


class PackedSession(EngineSession):
    """Runs a packed file in PyTorch, on the CPU.

    Args:
        path: of the .safetensors. threads: of the inference, None for PyTorch's own number.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.source, self.threads = str(path), threads
        self.model, content = open_packed(path)
        self.metadata = content.metadata
        channels = next(module.in_channels for module in self.model.modules() if isinstance(module, nn.Conv2d))
        self.input_shape = ('batch', channels, 'height', 'width')

    @torch.no_grad()
    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        with pinned(self.threads):
            return [tensor.numpy() for tensor in flat_outputs(self.model(torch.from_numpy(batch)))]


def tap_packed(path: Path, choice: Choice, **options: Any) -> Tapped:
    """Run ``path`` and read the chosen inputs and outputs of its 1-bit layers; see ``Engine.tap``."""
    session = PackedSession(path, **options)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for module in session.model.modules():
        if isinstance(module, FoldedBinaryConv2d):
            module.register_forward_hook(lambda _, given, output: pairs.append((given[0].numpy(), output.numpy())))

    def run(batch: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        pairs.clear()
        return session(batch), choice(pairs)

    return run
