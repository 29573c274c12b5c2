"""The trained stages of a work directory, each with its checkpoint and its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.training.config import load_config
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint
from bireal_plugin.training.trained import checkpoint_config, load_trained, trained_config


@dataclass(frozen=True)
class TrainedStage:
    """A stage that left a checkpoint: its folder, the file, and its own config (overrides merged in)."""

    name: str
    folder: Path
    checkpoint: Path
    config: Config

    def model(self) -> nn.Module:
        """The network with the checkpoint's weights, all of them, in evaluation mode."""
        return load_trained(self.config, self.checkpoint)[0]


def stages_of(
    work_dir: Path, *, config: str | None = None, overrides: Mapping[str, Any] | None = None
) -> list[TrainedStage]:
    """The stages of a work directory that have a checkpoint, in the order they were trained in.

    Args:
        config: the recipe; by default each checkpoint's own config.

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
    """The stage that a checkpoint is of, by ``config`` or the config that it carries.

    Raises:
        InputError: no config is given and the checkpoint carries none, or they are of different networks.
    """
    whole = checkpoint_config(checkpoint, overrides) if config is None else load_config(config, overrides)
    chosen = trained_config(whole, checkpoint)
    folder = checkpoint.resolve().parent
    return TrainedStage(chosen.get('stage') or folder.name, folder, checkpoint, chosen)
