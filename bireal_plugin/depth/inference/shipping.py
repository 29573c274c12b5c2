"""A trained depth network for ``shipping``: files that run without its config and checkpoint.

Besides the network they hold the size, mean and standard deviation of its images, which ``Predictor`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bireal_plugin.binary.switch import binary_convolutions
from bireal_plugin.depth.camera import TrainedOn
from bireal_plugin.depth.inference.predictor import statistics, warn_of_size
from bireal_plugin.depth.networks.network import DepthNetwork, checked_size, trained_size
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.config import plain_config
from bireal_plugin.export.packed.format import is_packed
from bireal_plugin.folding.fold import fold
from bireal_plugin.shipping.classification import dataset_meta
from bireal_plugin.shipping.network import SIZE, Network, normaliser, size_metadata, without_loading
from bireal_plugin.shipping.packed_source import open_source
from bireal_plugin.training.trained import load_trained


def load_depth_network(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    *,
    stage: str | None = None,
    size: Sequence[int] | None = None,
    allow_other_network: bool = False,
) -> Network:
    """Load a trained depth network and fold it; one without 1-bit layers stays as it is, to be compared with.

    A packed file holds the config that ``MODELS`` builds, a ``DepthNetwork`` with its ``size``. Every file has in its
    metadata the entry 'config', JSON of ``size``, ``mean``, ``std``, ``model`` and ``trained_on``, the size and
    cameras of its training pairs.

    Args:
        config, stage, allow_other_network: see ``load_trained``.
        checkpoint: trained weights, or a packed file, which is folded already.
        size: height and width of the images; by default those of training.

    Raises:
        InputError: the model is no DepthNetwork, its size is not known, or as ``load_trained``.
    """
    if is_packed(checkpoint):
        return _of_packed(str(checkpoint), size, dict(config=config, stage=stage, other=allow_other_network))
    model, trained = load_trained(config, checkpoint, stage=stage, allow_other_network=allow_other_network)
    if not isinstance(model, DepthNetwork):
        raise InputError(f'{checkpoint} is a {type(model).__name__}, no DepthNetwork; bireal export takes it')
    trained_on = TrainedOn.of(dataset_meta(checkpoint), str(checkpoint))
    own = trained_size(trained) if trained_on is None else trained_on.size
    height_width = own if size is None else checked_size(size)
    if height_width is None:
        raise InputError(f'{trained.filename} does not say the size of its images; give it with --size H W')
    warn_of_size(height_width, own, checkpoint)
    mean, std = statistics(model, checkpoint)
    described = {**without_loading(plain_config(trained.model)), 'size': list(height_width)}
    said = dict(size=height_width, mean=mean.tolist(), std=std.tolist(), model=described)
    said['trained_on'] = None if trained_on is None else trained_on.told()
    binary = any(conv.binary_input or conv.binary_weight for _, conv in binary_convolutions(model))
    return Network(
        model=fold(model, (1, 3, *height_width)) if binary else model,
        config=trained,
        size=height_width,
        size_source='as trained' if size is None else 'as --size says',
        channels=3,
        bgr=False,
        image_key='left',
        normalise=normaliser(model.data_preprocessor),
        packed_config=described,
        metadata=dict(config=json.dumps(said), **size_metadata(height_width)),
    )


def _of_packed(checkpoint: str, size: Sequence[int] | None, choices: dict[str, Any]) -> Network:
    found = open_source(checkpoint, choices, size, SIZE)
    if not isinstance(found.model, DepthNetwork) or 'config' not in found.metadata:
        raise InputError(f'{checkpoint} is a {type(found.model).__name__}, no DepthNetwork; bireal export takes it')
    height_width, source = found.size
    said = {**json.loads(found.metadata['config']), 'size': height_width}
    return Network(
        model=found.model,
        config=found.config,
        size=height_width,
        size_source=source,
        channels=3,
        bgr=False,
        image_key='left',
        normalise=normaliser(found.preprocessor),
        packed_config={**found.described, 'size': list(height_width)},
        metadata=dict(config=json.dumps(said), **size_metadata(height_width)),
    )
