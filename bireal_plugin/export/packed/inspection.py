"""Layers, bits and bytes of a packed file, as data and as a table. The file is checked as for loading."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bireal_plugin.export.packed.file import read_network
from bireal_plugin.export.packed.real_layers import SCALE
from bireal_plugin.folding.layers import FoldedBinaryConv2d
from bireal_plugin.hosts.torch_private import Convolution, NormWithStatistics
from bireal_plugin.text_table import text_table
from bireal_plugin.zoo import local_file

NORMS = (NormWithStatistics, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class PackedLayer:
    """One module with tensors of its own.

    Attributes:
        kind: '1-bit', 'real', 'norm' or 'other'.
        shape: of the weight, ``(O, I / groups, kH, kW)``; of several tensors without one the largest.
        bits: stored per weight.
        weights: numbers in the weight. bytes: stored for all its tensors.
        float32_bytes: the same with every weight in float32.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bits: int
    weights: int
    bytes: int
    float32_bytes: int


@dataclass(frozen=True)
class PackedReport:
    """A packed file whose checksum matches; ``str()`` of it is a table.

    Attributes:
        file_bytes: of the whole file, header included.
        real_layers: precision of the stored real weights.
    """

    path: str
    version: str
    checksum: str
    real_layers: str
    config: Mapping[str, Any]
    layers: tuple[PackedLayer, ...]
    file_bytes: int

    @property
    def float32_bytes(self) -> int:
        """Of the same folded network with every weight in float32."""
        return sum(layer.float32_bytes for layer in self.layers)

    @property
    def compression(self) -> float:
        """Size of the weights in float32 over the file's."""
        return self.float32_bytes / self.file_bytes

    def __str__(self) -> str:
        rows = [
            dict(
                layer=layer.name,
                kind=layer.kind,
                shape='x'.join(map(str, layer.shape)),
                bits=layer.bits,
                weights=f'{layer.weights:,}',
                bytes=f'{layer.bytes:,}',
            )
            for layer in self.layers
        ]
        for kind in dict.fromkeys(layer.kind for layer in self.layers):
            same = [layer for layer in self.layers if layer.kind == kind]
            weights, size = sum(layer.weights for layer in same), sum(layer.bytes for layer in same)
            total = dict(layer='total', kind=kind, shape=f'{len(same)} layers')
            rows.append({**total, 'weights': f'{weights:,}', 'bytes': f'{size:,}'})
        return '\n'.join(
            [
                f'{self.path}: format version {self.version}, checksum ok ({self.checksum[:12]}...)',
                f'network: {summary(self.config)}',
                f'real layers: {self.real_layers}',
                '',
                text_table(rows, left=('layer', 'kind', 'shape')),
                '',
                f'{self.file_bytes:,} bytes; with every weight in float32 {self.float32_bytes:,}: '
                f'{self.compression:.2f}x smaller',
            ]
        )


def inspect_packed(path: str | Path) -> PackedReport:
    """Layers, bits and bytes of a packed file.

    Raises:
        InputError: loading the file would raise it too.
    """
    model, content = read_network(path)
    own: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in sorted(content.tensors.items()):
        module, _, name = key.rpartition('.')
        own[module][name] = value
    layers = [_layer(name, module, own[name]) for name, module in model.named_modules() if name in own]
    return PackedReport(
        path=str(path),
        version=content.version,
        checksum=content.checksum,
        real_layers=content.real_layers,
        config=content.config,
        layers=tuple(layers),
        file_bytes=local_file(path).stat().st_size,
    )


def summary(config: Any) -> str:
    """A config as one line: ``Type(key=value, ...)``."""
    if isinstance(config, Mapping) and 'type' in config:
        options = ', '.join(f'{key}={summary(value)}' for key, value in config.items() if key != 'type')
        return f'{config["type"]}({options})'
    return repr(config)


def _layer(name: str, module: nn.Module, own: dict[str, Tensor]) -> PackedLayer:
    main = max(own, key=lambda key: (key in ('packed_weight', 'weight'), own[key].numel()))
    shape = tuple(own[main].shape)
    if isinstance(module, FoldedBinaryConv2d):
        kind, bits = '1-bit', 1
        shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
    else:
        bits = 8 * own[main].element_size()
        kind = 'norm' if isinstance(module, NORMS) else 'other'
        kind = 'real' if isinstance(module, (Convolution, nn.Linear)) else kind
    weights = math.prod(shape)
    size = sum(value.numel() * value.element_size() for value in own.values())
    beside = sum(value.numel() for key, value in own.items() if key not in (main, main + SCALE))
    return PackedLayer(name, kind, shape, bits, weights, size, 4 * (weights + beside))
