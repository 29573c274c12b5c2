"""Depth networks loaded to run on arrays, from a checkpoint or an exported file of any engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from bireal_plugin.depth.networks.network import checked_size, trained_size
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES, Session
from bireal_plugin.export.packed.engine import PackedSession
from bireal_plugin.export.session_io import Precision, pinned
from bireal_plugin.training.trained import load_trained


@dataclass(frozen=True)
class DisparityNetwork:
    """A loaded network and the images that it takes.

    Attributes:
        run: normalised images ``(1, 3, H, W)`` float32 to the outputs.
        size: height and width that it was trained with, in px; None where the file does not say.
        mean, std: per channel, of the 0..255 image.
        any_size: whether it runs on other sizes too.
    """

    run: Callable[[np.ndarray], list[np.ndarray]]
    size: tuple[int, int] | None
    mean: np.ndarray
    std: np.ndarray
    any_size: bool = True


def load_network(
    checkpoint: str | Path,
    *,
    config: str | Path | Config | None = None,
    stage: str | None = None,
    real_layers: Precision = 'f32',
    threads: int | None = None,
) -> DisparityNetwork:
    """The network in a file, by its suffix; for the arguments and errors see ``Predictor``."""
    if threads is not None and threads < 1:
        raise InputError(f'an inference has at least one thread, not {threads}')
    suffix = Path(checkpoint).suffix
    if real_layers != 'f32' and suffix != '.xml':
        raise InputError(f'real layers in {real_layers} are for OpenVINO models (.xml), not for {checkpoint}')
    if all(suffix != engine.suffix for engine in ENGINES.values()):
        network = _trained(checkpoint, config, stage, threads)
    elif config is not None or stage is not None:
        raise InputError(f'{checkpoint} carries its own config; leave --config and --stage out')
    else:
        network = _exported(checkpoint, real_layers, threads)
    if len(network.mean) not in (1, 3):
        raise InputError(f'{checkpoint} normalises {len(network.mean)} channels; a depth network sees RGB')
    return network


def _trained(
    checkpoint: str | Path, config: str | Path | Config | None, stage: str | None, threads: int | None
) -> DisparityNetwork:
    model, loaded = load_trained(config, checkpoint, stage=stage)
    mean, std = statistics(model, checkpoint)

    @torch.no_grad()
    def run(batch: np.ndarray) -> list[np.ndarray]:
        with pinned(threads):
            output = model(torch.from_numpy(batch), mode='tensor')
        return [tensor.numpy() for tensor in (output if isinstance(output, (list, tuple)) else [output])]

    return DisparityNetwork(run, trained_size(loaded), mean, std)


def _exported(path: str | Path, real_layers: Precision, threads: int | None) -> DisparityNetwork:
    session = Session(path, threads=threads, **({} if real_layers == 'f32' else dict(real_layers=real_layers)))
    if isinstance(session, PackedSession):
        model: Any = session.model
        return DisparityNetwork(session, getattr(model, 'size', None), *statistics(model, path))
    try:
        config = json.loads(session.metadata['config'])
        mean, std = (np.asarray(config[key], np.float32) for key in ('mean', 'std'))
        size = config['size']
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f'{path} does not say how its images are made; export it with bireal depth export') from error
    return DisparityNetwork(session, checked_size(size), mean, std, any_size=False)


def statistics(model: Any, source: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel by which a network's preprocessor normalises.

    Raises:
        InputError: it has none.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not hasattr(preprocessor, 'mean') or not hasattr(preprocessor, 'std'):
        raise InputError(f'{source}: the network has no data_preprocessor with mean and std, so it is no depth network')
    assert preprocessor is not None
    return preprocessor.mean.flatten().numpy(), preprocessor.std.flatten().numpy()
