"""The origin of a checkpoint: the config, stage and recipe that trained it, in its ``meta`` as plain data, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bireal_plugin.errors import InputError

KEY = 'trained'  # in the meta of a checkpoint
# Place and progress of one run, no part of the network or its data.
OF_ONE_RUN = ('work_dir', 'load_from', 'resume', 'load_strict', 'experiment_name', 'launcher', 'stage', 'recipe')


@dataclass(frozen=True)
class Origin:
    """The training run behind a checkpoint.

    Attributes:
        config: the ordinary config of the run; of a recipe, that of the stage.
        stage: name in the recipe; None where there is none.
        recipe: names of all stages in their order; empty where there are none.
        name: of the config file, without suffix; None where there was none.
    """

    config: dict[str, Any]
    stage: str | None = None
    recipe: tuple[str, ...] = ()
    name: str | None = None

    @classmethod
    def of_run(cls, config: Mapping[str, Any], file: str | None = None) -> Origin:
        """From the config of a Runner, in which ``stage`` and ``recipe`` stand where it is a stage's."""
        kept = {key: value for key, value in config.items() if key not in OF_ONE_RUN}
        return cls(
            plain(kept), config.get('stage'), tuple(config.get('recipe') or ()), Path(file).stem if file else None
        )

    def as_meta(self) -> dict[str, Any]:
        """The entries for a checkpoint's ``meta``."""
        return {KEY: asdict(self)}


def origin_of(checkpoint: Mapping[str, Any], source: str) -> Origin | None:
    """The origin that a checkpoint tells; None for weights from elsewhere and for files of older versions.

    Raises:
        InputError: the entry is there and is damaged.
    """
    meta = checkpoint.get('meta')
    told = meta.get(KEY) if isinstance(meta, Mapping) else None
    if told is None:
        return None
    if not isinstance(told, Mapping) or not isinstance(told.get('config'), Mapping):
        raise InputError(f'{source}: meta.{KEY} must hold the config of its training as a dict; the file is damaged')
    stage, recipe, file = told.get('stage'), tuple(told.get('recipe') or ()), told.get('name')
    if not all(isinstance(name, str) for name in (stage or '', file or '', *recipe)):
        raise InputError(
            f'{source}: meta.{KEY} must name config and stages by text, not {file!r}, {stage!r} of {recipe}'
        )
    return Origin(dict(told['config']), stage, recipe, file)


def plain(value: Any) -> Any:
    """Numbers, strings, tensors and containers of them, as ``torch.load(weights_only=True)`` takes them.

    numpy becomes Python or torch, a class or function its importable name, anything else its ``str``.
    """
    if isinstance(value, np.generic):  # first, since numpy.float64 is a float too
        return value.item()
    if isinstance(value, (bool, int, float, str, Tensor)) or value is None:
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in 'biuf' else value.tolist()
    if isinstance(value, Mapping):
        return {key if isinstance(key, (int, str)) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, type) or callable(value):
        return f'{value.__module__}.{value.__qualname__}' if hasattr(value, '__qualname__') else str(value)
    return str(value)
