"""A trained depth network as files that run without its config and checkpoint: packed, or for OpenVINO.

Besides the network they hold the size, mean and standard deviation of its images, which ``network_file.py`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from bireal_plugin.binary.switch import binary_convolutions
from bireal_plugin.depth.inference.network_file import statistics
from bireal_plugin.depth.networks.network import DepthNetwork, checked_size, trained_size
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import export, write
from bireal_plugin.export.packed.config import plain_config
from bireal_plugin.training.trained import load_trained

Format = Literal['packed', 'openvino']
FORMATS: tuple[Format, ...] = ('packed', 'openvino')
LOADS_WEIGHTS = ('init_cfg', 'pretrained')


def export_depth(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    format: Format,
    path: str | Path,
    *,
    size: Sequence[int] | None = None,
    stage: str | None = None,
) -> Path:
    """Write a trained depth network to ``path`` and return it.

    A packed file holds the config that ``MODELS`` builds, a ``DepthNetwork`` with its ``size``. An OpenVINO model has
    the entry 'config' in its metadata, JSON of ``size``, ``mean``, ``std`` and ``model``. A network without 1-bit
    layers has no packed form; for OpenVINO it is written as it is, to be compared with.

    Args:
        format: 'packed' (.safetensors, as exact as the checkpoint) or 'openvino' (.xml and .bin, fast on x86).
        size: height and width of the network's input; by default those of the config's data.
        stage: see ``load_trained``.

    Raises:
        InputError: an unknown format, a network that is no DepthNetwork or not binary yet, unreadable files.
    """
    if format not in FORMATS:
        raise InputError(f'a depth network is exported to {" or ".join(FORMATS)}, not {format!r}')
    path = Path(path)
    model, loaded = load_trained(config, checkpoint, stage=stage)
    if not isinstance(model, DepthNetwork):
        raise InputError(f'{checkpoint} is a {type(model).__name__}, no DepthNetwork; tools/export.py takes it')
    size = trained_size(loaded) if size is None else checked_size(size)
    if size is None:
        raise InputError(f'{loaded.filename} does not say the size of its images; give it with --shape H W')
    model_config = _without_loading(plain_config(loaded.model))
    shape = (1, 3, *size)
    if format == 'packed':
        packed = {**model_config, 'size': list(size)}
        return export(model, 'packed', shape, path=path, config=packed)
    mean, std = statistics(model, checkpoint)
    said = dict(size=size, mean=mean.tolist(), std=std.tolist(), model=model_config)
    metadata = dict(config=json.dumps(said))
    if not any(conv.binary_input or conv.binary_weight for _, conv in binary_convolutions(model)):
        return write(model, 'openvino', shape, path, metadata=metadata)  # there are no signs to fold
    return export(model, 'openvino', shape, path=path, metadata=metadata)


def _without_loading(config: Any) -> Any:
    """A config without what loads weights, since the files have them inside."""
    if isinstance(config, dict):
        return {key: _without_loading(value) for key, value in config.items() if key not in LOADS_WEIGHTS}
    return config
