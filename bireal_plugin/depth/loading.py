"""A trained network from a config and a checkpoint, as it was trained: not folded, in evaluation mode."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import bireal_plugin.depth  # noqa: F401  registers the networks that configs name
from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.errors import InputError
from bireal_plugin.shipping.network import check_absorbed, checkpoint_stage
from bireal_plugin.training.config import config_mistakes, load_config


def load_trained(
    config: str | Path | Config, checkpoint: str | Path, *, stage: str | None = None
) -> tuple[nn.Module, Config]:
    """The network with all of the checkpoint's weights, and the ordinary config of the checkpoint's stage.

    Args:
        config: file or content, of one run or of a recipe.
        stage: of a recipe; by default the one that the checkpoint's folder is named after, else the last.

    Raises:
        InputError: a file is missing or unreadable, the network cannot be built, or the weights are another's.
    """
    if not isinstance(config, Config):
        config = load_config(str(config))
    config = checkpoint_stage(config, checkpoint, stage)
    where = str(config.filename)
    if not config.get('model'):
        raise InputError(f'{where} has no model')
    source = str(checkpoint)
    state = state_dict_of(read_checkpoint(checkpoint), source)
    scope = config.get('default_scope') or 'mmengine'
    with config_mistakes(where), DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(config.model)
    load_weights(model, state, source=source, strict=True)
    if config.get('absorb_scales'):
        check_absorbed(model, source, config.get('stage'))
    return model.eval(), config
