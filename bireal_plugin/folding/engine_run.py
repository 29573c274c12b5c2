"""A folded network that an engine runs in PyTorch's place: compiled for a size when it first sees it.

Engines stand in ``RUNNERS``, which the package ``export`` fills.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from bireal_plugin.errors import InputError, check_choice
from bireal_plugin.hosts.torch_private import tables

Run = Callable[[Tensor], Sequence[Tensor]]
# From a folded network and (1, C, H, W) to the function that runs it on any batch of this size.
RUNNERS: dict[str, Callable[[nn.Module, Sequence[int]], Run]] = {}
SIZES = 8  # of images that a network is kept compiled for


class EngineRun:
    """Calls of one network through one engine, on a CPU and without gradient.

    Weights that change, by loading others, and layers that are replaced are compiled again; every call looks. Copies
    and files of the network hold no compiled form.

    Args:
        engine: a name in ``RUNNERS``.
    """

    def __init__(self, engine: str) -> None:
        check_choice('switch_to_deploy', 'engine', engine, ('torch', *RUNNERS))
        self.engine = engine
        self.network: nn.Module | None = None
        self.tables: list[dict[str, Any]] = []
        self.tensors: list[Tensor] = []
        self.state: tuple[object, ...] = ()
        self.runs: dict[tuple[int, ...], Run] = {}

    def __call__(self, network: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs of ``network(x)`` for ``x`` ``(N, C, H, W)``.

        Raises:
            InputError: ``x`` or the network is on another device, or the engine has no form for a layer.
        """
        if network is not self.network or self._state() != self.state:
            self.network, self.tensors = network, [*network.parameters(), *network.buffers()]
            self.tables = [table for module in network.modules() for table in tables(module) if table]
            self.state, self.runs = self._state(), {}
        if not (x.is_cpu and all(tensor.is_cpu for tensor in self.tensors)):
            raise InputError(
                f'the network was switched to the engine {self.engine}, which runs on a CPU; move both there'
            )
        size = tuple(x.shape[1:])
        if size not in self.runs:
            plain = copy.copy(network)
            plain.engine_run = None  # type: ignore[assignment]
            self.runs[size] = RUNNERS[self.engine](plain, (1, *size))
            for oldest in list(self.runs)[:-SIZES]:
                del self.runs[oldest]
        with torch.no_grad():
            return tuple(self.runs[size](x))

    def _state(self) -> tuple[object, ...]:
        """Key of the compiled forms: tensors and children of all modules, and the process: forks inherit no session."""
        inside = chain.from_iterable(map(dict.values, self.tables))
        return os.getpid(), *map(id, inside), *[tensor._version for tensor in self.tensors]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), 'network': None, 'tables': [], 'tensors': [], 'state': (), 'runs': {}}
