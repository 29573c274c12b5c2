"""The canonical artefact: a folded network in one safetensors file, loaded without running anything from it.

Content: the folded state dict (1-bit weights packed 8 per byte, one scale and bias per channel, real layers); in the
metadata the model's config. ``format.py`` reads and writes the bytes, ``config.py`` knows which configs may be built,
``real_layers.py`` how real weights are stored. All of it is checked before a tensor is put into a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import nn

from bireal_plugin.errors import InputError, first_line
from bireal_plugin.export.packed.config import check_config, plain_config
from bireal_plugin.export.packed.format import PackedContent, read_packed, write_packed
from bireal_plugin.export.packed.real_layers import (
    Layout,
    check_finite,
    check_real_layers,
    dtype_name,
    layout,
    restored,
    stored,
)
from bireal_plugin.export.program import folded
from bireal_plugin.export.session_io import Choice, EngineSession, Precision, Tapped, flat_outputs, pinned
from bireal_plugin.folding.fold import fold_
from bireal_plugin.folding.layers import FoldedBinaryConv2d
from bireal_plugin.folding.norm_pairs import REFUSALS


def save_packed(
    model: nn.Module,
    config: Mapping[str, Any],
    path: str | Path,
    *,
    real_layers: Precision = 'f32',
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Fold ``model`` and write it to ``path``, whole or not at all; return the file's size in bytes.

    Args:
        config: the config that ``MODELS`` builds ``model`` from.
        real_layers: storage of real layers' weights; they compute in float32 again.
        metadata: texts to keep in the file.

    Raises:
        InputError: the model cannot be folded, is not what the config describes, has values that are not finite, or is
            of a type that a packed file may not hold.
    """
    check_real_layers(real_layers, source='save_packed')
    plain = plain_config(config)
    check_config(plain, source='the config')
    expected = layout(_empty_network(plain, source='the config').state_dict(), real_layers)
    state = folded(model).state_dict()
    _check_tensors(
        layout(state, real_layers), expected, source='the model', claim='the network that its config describes'
    )
    return write_packed(Path(path), plain, real_layers, stored(state, real_layers), metadata or {})


def load_packed(path: str | Path) -> nn.Module:
    """The folded network in a packed file, in evaluation mode; it predicts exactly what ``fold`` gives.

    Args:
        path: a file, or an address of one: ``zoo://NAME`` of the networks in this package, ``hf-hub:OWNER/NAME``.

    Raises:
        InputError: the file is missing, truncated, changed, of another format or version, or not the network it claims.
    """
    return open_packed(path)[0]


def open_packed(path: str | Path) -> tuple[nn.Module, PackedContent]:
    """As ``load_packed``, together with the file's content."""
    model, content = read_network(path)
    model.load_state_dict(restored(content.tensors), assign=True)
    preprocessor = getattr(model, 'data_preprocessor', None)
    if preprocessor is not None:  # its mean and std are not in the state dict
        told = content.config.get('data_preprocessor') or dict(type='ImagePreprocessor')
        try:
            model.data_preprocessor = MODELS.build(told)
        except (*REFUSALS, ArithmeticError) as error:
            raise InputError(f'{path}: its data_preprocessor cannot be built: {first_line(error)}') from error
    return model.eval(), content


def read_network(path: str | Path) -> tuple[nn.Module, PackedContent]:
    """The folded network of a packed file on the meta device, and the content that was found to fit it."""
    content, source = read_packed(path), str(path)
    check_real_layers(content.real_layers, source=source)
    check_config(content.config, source=source)
    model = _empty_network(content.config, source=source)
    found = {name: (value.dtype, tuple(value.shape)) for name, value in content.tensors.items()}
    _check_tensors(found, layout(model.state_dict(), content.real_layers), source=source, claim='the network it claims')
    for name, value in content.tensors.items():
        check_finite(name, value, source=source)
    return model, content


def _empty_network(config: dict[str, Any], *, source: str) -> nn.Module:
    """The folded network of a checked config, on the meta device."""
    try:
        with torch.device('meta'):
            model = MODELS.build(config)
        model = fold_(model)
    except (*REFUSALS, ArithmeticError) as error:
        raise InputError(f'{source}: its network cannot be built: {first_line(error)}') from error
    state = model.state_dict()
    for name, _ in model.named_buffers():
        if name not in state and not name.startswith('data_preprocessor.'):
            raise InputError(f'{source}: the buffer {name} is not in the state dict, so a packed file would lose it')
    return model


def _check_tensors(found: Layout, expected: Layout, *, source: str, claim: str) -> None:
    """Compare types and shapes by name."""
    shapes, wanted = ({name: shape for name, (_, shape) in places.items()} for places in (found, expected))
    differing = sorted(dict(shapes.items() ^ wanted.items()))
    if differing:
        name = differing[0]
        if name not in found:
            how = 'is missing'
        elif name not in expected:
            how = 'is not one of them'
        else:
            how = f'has shape {shapes[name]}, not {wanted[name]}'
        count = f' ({len(differing)} differ)' if len(differing) > 1 else ''
        raise InputError(f'{source}: its tensors are not those of {claim}: {name} {how}{count}')
    for name, (dtype, _) in found.items():
        if dtype != expected[name][0]:
            raise InputError(
                f'{source}: {name} has type {dtype_name(dtype)} and must be {dtype_name(expected[name][0])}'
            )


def export_packed(
    model: nn.Module,
    path: str | Path,
    example_shape: Sequence[int],
    *,
    config: Mapping[str, Any] | None = None,
    real_layers: Precision = 'f32',
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a network to ``path`` (.safetensors), which fits any input shape; the options are ``save_packed``'s.

    The config may be left out where the network knows its own (``model.config``), as one made by timm does.
    """
    config = getattr(model, 'config', None) if config is None else config
    if config is None:
        raise InputError(f'export to packed needs the option config: a {type(model).__name__} does not tell its own')
    save_packed(model, config, path, real_layers=real_layers, metadata=metadata)
    return Path(path)


class PackedSession(EngineSession):
    """Runs a packed file in PyTorch, on the CPU.

    Args:
        path: of the .safetensors. threads: of the inference, None for PyTorch's own number.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        super().__init__(path, threads=threads)
        self.threads = threads
        self.model, content = open_packed(path)
        self.metadata = content.metadata
        channels = next(module.in_channels for module in self.model.modules() if isinstance(module, nn.Conv2d))
        self.input_shape = self.accepted = ('batch', channels, 'height', 'width')

    @classmethod
    def tap(cls, path: Path, choice: Choice, **options: Any) -> Tapped:
        session = cls(path, **options)
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for module in session.model.modules():
            if isinstance(module, FoldedBinaryConv2d):
                module.register_forward_hook(lambda _, given, output: pairs.append((given[0].numpy(), output.numpy())))

        def run(*batches: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
            pairs.clear()
            return session(*batches), choice(pairs)

        return run

    @torch.no_grad()
    def run(self, *batches: np.ndarray) -> list[np.ndarray]:
        with pinned(self.threads):
            return [tensor.numpy() for tensor in flat_outputs(self.model(*map(torch.from_numpy, batches)))]
