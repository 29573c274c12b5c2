"""All figures of one source: of the surrogates alone, a checkpoint, or a work directory. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bireal_plugin.errors import InputError
from bireal_plugin.studies.figures.activations import Panel, draw_activations, layer_inputs, nonlinearity, spread_batch
from bireal_plugin.studies.figures.curves import curves_of_checkpoint, curves_of_folder, draw_curves
from bireal_plugin.studies.figures.stage_folders import stage_of, stages_of
from bireal_plugin.studies.figures.surrogates import draw_surrogates
from bireal_plugin.studies.figures.weights import draw_weights, has_latent_weights, layer_weights
from bireal_plugin.training import read_checkpoint


def of_surrogates(out: Path) -> list[Path]:
    """Fig. 7."""
    return draw_surrogates(out / 'fig7_surrogates')


def of_checkpoint(
    path: Path,
    out: Path,
    *,
    config: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Fig. 7 and 8, and the curves in the checkpoint's log.

    Raises:
        InputError: no config, no latent weights of binary layers, or no log.
    """
    stage = stage_of(path, config=config, overrides=overrides)
    layers = layer_weights(stage.model())
    if not layers:
        raise InputError(f'{path} has no binary layers: give a checkpoint of a stage with binary weights')
    if not has_latent_weights(layers):
        raise InputError(f'{path} has weights of exactly +-1, no latent ones: give a checkpoint of the stage before')
    curves = curves_of_checkpoint(stage.name, read_checkpoint(path), source=str(path))
    if not curves.top1:
        say(f'curves without top-1: the log in {path} does not tell at which epochs it was measured')
    title = f'{path.resolve().parent.name}/{path.name}'
    return [
        *of_surrogates(out),
        *draw_weights(layers, out / 'fig8_weights', title=title),
        *draw_curves([curves], out / 'curves', title=title),
    ]


def of_work_dir(
    work_dir: Path,
    out: Path,
    *,
    images: int = 128,
    config: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Fig. 7, Fig. 9 of all stages, Fig. 8 of the last one with latent binary weights, and the curves.

    Args:
        images: test images for Fig. 9.
        say: takes a sentence about a picture that these stages do not give.

    Raises:
        InputError: the directory has no stages, or their data cannot be read.
    """
    stages = stages_of(work_dir, config=config, overrides=overrides)
    curves = [curves_of_folder(stage.name, stage.folder, stage.checkpoint) for stage in stages]
    written = [*of_surrogates(out), *draw_curves(curves, out / 'curves', title=work_dir.resolve().name)]
    models = [(stage, stage.model()) for stage in stages]

    latest = {kind: (stage, model) for stage, model in models if (kind := nonlinearity(model)) is not None}
    panels = [
        Panel(kind, stage.name, layer_inputs(model, spread_batch(stage.config, images)))
        for kind, (stage, model) in latest.items()
    ]
    if panels:
        written += draw_activations(panels, out / 'fig9_activations', images=images)
    else:
        say('Fig. 9 left out: no stage has binary convolutions')

    for stage, model in reversed(models):
        layers = layer_weights(model)
        if has_latent_weights(layers):
            return written + draw_weights(layers, out / 'fig8_weights', title=f'stage {stage.name}')
    say('Fig. 8 left out: no stage has binary weights with latent ones behind them')
    return written
