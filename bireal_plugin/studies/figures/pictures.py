"""All figures of one source: of the surrogates alone, a checkpoint, or a work directory. Needs matplotlib."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from torch import nn

from bireal_plugin.checkpoints.file import read_checkpoint
from bireal_plugin.errors import InputError
from bireal_plugin.studies.figures.activations import (
    Panel,
    activations_of,
    draw_activations,
    nonlinearity,
    spread_batch,
)
from bireal_plugin.studies.figures.curves import curves_of_checkpoint, curves_of_folder, draw_curves
from bireal_plugin.studies.figures.feature_maps import draw_feature_maps, feature_maps
from bireal_plugin.studies.figures.surrogates import draw_surrogates
from bireal_plugin.studies.figures.weights import draw_weights, has_latent_weights, layer_weights
from bireal_plugin.training.config import load_config
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint
from bireal_plugin.training.trained import checkpoint_config, load_trained


class TrainedStage(NamedTuple):
    """A stage that left a checkpoint: the file, its network with all weights, and its own config."""

    name: str
    checkpoint: Path
    model: nn.Module
    config: Config


def stages_of(work_dir: Path, **choices: Any) -> list[TrainedStage]:
    """The stages of a work directory that have a checkpoint, in the order they were trained in; see ``stage_of``.

    Raises:
        InputError: there are none.
    """
    results = work_dir / 'results.json'
    ended = [row['name'] for row in json.loads(results.read_text())['stages']] if results.is_file() else []
    others = sorted(path.name for path in work_dir.iterdir() if path.is_dir() and path.name not in ended)
    checkpoints = [latest_checkpoint(work_dir / name) for name in [*ended, *others]]
    stages = [stage_of(checkpoint, **choices) for checkpoint in checkpoints if checkpoint is not None]
    if not stages:
        raise InputError(
            f'{work_dir} has no stages: none of its folders holds a checkpoint epoch_*.pth; give the work directory of '
            'tools/train.py, or a checkpoint'
        )
    return stages


def stage_of(
    checkpoint: Path, *, config: str | None = None, overrides: Mapping[str, Any] | None = None, **choices: Any
) -> TrainedStage:
    """The stage that a checkpoint is of, by ``config`` or the config that it carries; ``load_trained`` has the choices.

    Raises:
        InputError: no config is given and the checkpoint carries none, or they are of different networks.
    """
    whole = checkpoint_config(checkpoint, overrides) if config is None else load_config(config, overrides)
    model, chosen = load_trained(whole, checkpoint, **choices)
    return TrainedStage(chosen.get('stage') or checkpoint.resolve().parent.name, checkpoint, model, chosen)


def of_checkpoint(path: Path, out: Path, **choices: Any) -> list[Path]:
    """Fig. 7 and 8, and the curves in the checkpoint's log; see ``stage_of`` for the choices.

    Raises:
        InputError: no config, no latent weights of binary layers, or no log.
    """
    stage = stage_of(path, **choices)
    layers = layer_weights(stage.model)
    if not layers:
        raise InputError(f'{path} has no binary layers: give a checkpoint of a stage with binary weights')
    if not has_latent_weights(layers):
        raise InputError(f'{path} has weights of exactly +-1, no latent ones: give a checkpoint of the stage before')
    curves = curves_of_checkpoint(stage.name, read_checkpoint(path), source=str(path))
    if not curves.top1:
        print(f'curves without top-1: the log in {path} does not tell at which epochs it was measured')
    title = f'{path.resolve().parent.name}/{path.name}'
    return [
        *draw_surrogates(out / 'fig7_surrogates'),
        *draw_weights(layers, out / 'fig8_weights', title=title),
        *draw_curves([curves], out / 'curves', title=title),
    ]


def of_work_dir(work_dir: Path, out: Path, *, images: int, **choices: Any) -> list[Path]:
    """Fig. 7, Fig. 9 of all stages, Fig. 1 and 8 of the last that has them, and the curves.

    A sentence is printed about a picture that these stages do not give.

    Args:
        images: test images for Fig. 1 and 9. choices: see ``stage_of``.

    Raises:
        InputError: the directory has no stages, or their data cannot be read.
    """
    stages = stages_of(work_dir, **choices)
    curves = [curves_of_folder(stage.name, stage.checkpoint.resolve().parent, stage.checkpoint) for stage in stages]
    written = draw_surrogates(out / 'fig7_surrogates')
    written += draw_curves(curves, out / 'curves', title=work_dir.resolve().name)

    latest = {kind: stage for stage in stages if (kind := nonlinearity(stage.model)) is not None}
    panels = [
        Panel(kind, stage.name, activations_of(stage.model, spread_batch(stage.config, images)))
        for kind, stage in latest.items()
    ]
    if panels:
        written += draw_activations(panels, out / 'fig9_activations', images=images)
    else:
        print('Fig. 9 left out: no stage has binary convolutions')

    signed = [stage for stage in stages if nonlinearity(stage.model) == 'sign']
    maps = feature_maps(signed[-1].model, spread_batch(signed[-1].config, images)) if signed else []
    if maps:
        written += draw_feature_maps(maps, out / 'fig1_feature_maps', title=f'stage {signed[-1].name}')
    else:
        print('Fig. 1 left out: no stage has a BatchNorm between two signs')

    for stage in reversed(stages):
        layers = layer_weights(stage.model)
        if has_latent_weights(layers):
            return written + draw_weights(layers, out / 'fig8_weights', title=f'stage {stage.name}')
    print('Fig. 8 left out: no stage has binary weights with latent ones behind them')
    return written
