"""Finding networks on disk: the stages of a work directory, each with its checkpoint and its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.errors import InputError
from bireal_plugin.training import read_checkpoint, stage_config, state_dict_of
from bireal_plugin.training.config import config_mistakes, load_config
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint


@dataclass(frozen=True)
class TrainedStage:
    """A stage that left a checkpoint: its folder, the file, and its own config (overrides merged in)."""

    name: str
    folder: Path
    checkpoint: Path
    config: Config

    def model(self) -> nn.Module:
        """The network with the checkpoint's weights, all of them, in evaluation mode."""
        with (
            config_mistakes(str(self.config.filename)),
            DefaultScope.overwrite_default_scope(self.config.get('default_scope', 'mmengine')),
        ):
            model = MODELS.build(self.config.model)
        state = state_dict_of(read_checkpoint(self.checkpoint), self.checkpoint)
        load_weights(model, state, source=str(self.checkpoint), strict=True)
        return model.eval()


def stages_of(
    work_dir: Path, *, config: str | None = None, overrides: Mapping[str, Any] | None = None
) -> list[TrainedStage]:
    """The stages of a work directory that have a checkpoint, in the order they were trained in.

    Args:
        config: the recipe; by default each stage's own config as its run wrote it into its folder.

    Raises:
        InputError: there are none.
    """
    results = work_dir / 'results.json'
    ended = [row['name'] for row in json.loads(results.read_text())['stages']] if results.is_file() else []
    others = sorted(path.name for path in work_dir.iterdir() if path.is_dir() and path.name not in ended)
    stages = []
    for name in [*ended, *others]:
        checkpoint = latest_checkpoint(work_dir / name)
        if checkpoint is not None:
            stages.append(stage_of(checkpoint, config=config, overrides=overrides))
    if not stages:
        raise InputError(
            f'{work_dir} has no stages: none of its folders holds a checkpoint epoch_*.pth; give the work directory of '
            'tools/train.py, or a checkpoint'
        )
    return stages


def stage_of(
    checkpoint: Path, *, config: str | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainedStage:
    """The stage that a checkpoint is of: of the ``config``, or as the config beside the checkpoint says.

    With a recipe as ``config``, the folder's name tells the stage, else the last one is meant.

    Raises:
        InputError: no config is given and not exactly one lies beside the checkpoint.
    """
    folder = checkpoint.resolve().parent
    if config is None:
        found = sorted(folder.glob('*.py'))
        if len(found) != 1:
            raise InputError(
                f'{folder} holds {len(found)} configs instead of the one of the run that wrote {checkpoint.name}; '
                'give it with --config'
            )
        config = str(found[0])
    whole = load_config(config, overrides)
    name = folder.name
    if 'stages' in whole:
        name = folder.name if folder.name in whole.stages else list(whole.stages)[-1]
        whole = stage_config(whole, name)
    return TrainedStage(name, folder, checkpoint, whole)
