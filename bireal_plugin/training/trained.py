"""``load_trained``: the network of a checkpoint as it was trained, from the config it carries or one that is given."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from bireal_plugin.binary.switch import binary_convolutions
from bireal_plugin.checkpoints.file import PHASES, Origin, not_finite, origin_of, state_dict_of, unusual
from bireal_plugin.checkpoints.function import check_types
from bireal_plugin.checkpoints.loading import fetch_checkpoint, load_weights
from bireal_plugin.errors import InputError, listed
from bireal_plugin.models.distill import student_config
from bireal_plugin.training.config import load_config, override, scope_of
from bireal_plugin.training.differences import network_difference
from bireal_plugin.training.recipe import build_model, stage_config

MOST_NUMBERS = 100_000  # of an array in a config


def load_trained(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    *,
    stage: str | None = None,
    allow_other_network: bool = False,
) -> tuple[nn.Module, Config]:
    """The network with all of the checkpoint's weights, not folded, in evaluation mode, and its ordinary config.

    Args:
        config: file or content, of one run or of a recipe; None takes the config that the checkpoint carries.
        checkpoint: file, or any address that ``fetch_checkpoint`` knows.
        stage: of a recipe; by default the one that the checkpoint was trained in.
        allow_other_network: build the network of ``config`` even where the checkpoint says it is of another.

    Raises:
        InputError: a file is missing or unreadable, the network cannot be built, or the weights are another's.
    """
    source = str(checkpoint)
    content = fetch_checkpoint(source)
    chosen = trained_config(config, source, stage=stage, allow_other_network=allow_other_network, content=content)
    model, state = build_model(chosen), state_dict_of(content, source)
    check_finite(state, source)
    load_weights(model, state, source=source, strict=True)
    if chosen.get('absorb_scales'):
        check_absorbed(model, source)
    return model.eval(), chosen


def trained_config(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    *,
    stage: str | None = None,
    allow_other_network: bool = False,
    content: Mapping[str, Any] | None = None,
) -> Config:
    """The ordinary config that ``load_trained`` builds from, for a Runner that loads the weights itself.

    ``content`` is the checkpoint's, where it has been read already; the other arguments are ``load_trained``'s.
    """
    source = str(checkpoint)
    content = fetch_checkpoint(source) if content is None else content
    origin = origin_of(content, source)
    if config is None:
        chosen = _carried_config(origin, source)
        if stage is not None and stage != chosen.get('stage'):
            raise InputError(f'--stage {stage}: {source} is of {_stage_words(origin)}; leave --stage out')
    else:
        given = config if isinstance(config, Config) else load_config(str(config))
        chosen = _with_stage(given, origin, source, stage)
        if origin is not None and not allow_other_network:
            networks = (_with_images(each) for each in (origin.config, chosen))
            with scope_of(chosen):
                found = network_difference(*networks)
            if found is not None:
                key, theirs, ours = found
                raise InputError(
                    f'{source} was trained with model{key} = {theirs} ({_stage_words(origin)}), but {chosen.filename} '
                    f'has {ours}: these weights belong to another network; leave CONFIG out, name the right stage with '
                    '--stage, or take them all the same with --allow-other-network'
                )
    if chosen.get('model'):
        chosen.model = student_config(chosen.model)
    meta = content.get('meta')
    if isinstance(meta, Mapping) and meta.get(PHASES):  # of a run whose network was not yet, or no longer, its config's
        chosen[PHASES] = meta[PHASES]
    return chosen


def checkpoint_config(checkpoint: str | Path, overrides: Mapping[str, Any] | None = None) -> Config:
    """The config that a checkpoint carries, with dotted ``overrides`` merged in (``--cfg-options``).

    It is read as data: only what is registered, by this package and by the libraries that its scopes name, is built.

    Raises:
        InputError: the checkpoint carries none, or one that names code elsewhere.
    """
    source = str(checkpoint)
    config = _carried_config(origin_of(fetch_checkpoint(source), source), source)
    return override(config, overrides) if overrides else config


def checkpoint_name(checkpoint: str | Path) -> str:
    """Name of the config that trained a checkpoint; of one that does not carry it, the file's own."""
    origin = origin_of(fetch_checkpoint(str(checkpoint)), str(checkpoint))
    return (origin and origin.name) or Path(checkpoint).stem


def _carried_config(origin: Origin | None, source: str) -> Config:
    if origin is None:
        raise InputError(f'{source} does not carry the config it was trained with: give CONFIG, the file of that run')
    check_types(origin.config, source)
    config = _without_tensors(origin.config, source)
    for name in (config.get('custom_imports') or {}).get('imports') or []:
        if str(name).partition('.')[0] == __package__.partition('.')[0]:
            import_module(name)
    # A text, or mmengine would read the file for it.
    carried = Config(config, cfg_text=f'# carried by {source}\n', filename=source)
    carried.stage, carried.recipe = origin.stage, list(origin.recipe)
    return carried


def _without_tensors(value: Any, source: str) -> Any:
    """A config with lists in the place of tensors, as which arrays are kept."""
    if isinstance(value, Mapping):
        return {key: _without_tensors(item, source) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_tensors(item, source) for item in value)
    if isinstance(value, Tensor):
        if unusual(value) is not None or value.numel() > MOST_NUMBERS:
            raise InputError(f'{source}: the config in it holds a tensor that is no list of numbers: give CONFIG')
        return value.tolist()
    return value


def _with_stage(config: Config, origin: Origin | None, source: str, stage: str | None) -> Config:
    """Of a recipe the stage named, else the checkpoint's; a file that tells none needs a name."""
    if not config.get('stages'):
        if stage not in (None, config.get('stage')):
            raise InputError(f'--stage {stage}: {config.filename} has no stages')
        return copy.deepcopy(config)
    stages = ', '.join(config.stages)
    if stage is None and origin is not None:
        stage = origin.stage
        if stage not in config.stages:
            raise InputError(
                f'{source} is of {_stage_words(origin)}, and the stages of {config.filename} are: {stages}; '
                'leave CONFIG out, or name one of them with --stage'
            )
    elif stage is None:
        raise InputError(
            f'{source} does not tell which stage of {config.filename} it is of: name one with --stage ({stages})'
        )
    return stage_config(config, str(stage))


def _with_images(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of a model, with the preprocessor of its images where that stands beside it."""
    model, shared = student_config(config.get('model') or {}), config.get('data_preprocessor')
    return {'data_preprocessor': shared, **model} if shared else model


def _stage_words(origin: Origin | None) -> str:
    return 'a run without stages' if origin is None or origin.stage is None else f'stage {origin.stage}'


def check_finite(state: Mapping[str, Any], source: str) -> None:
    """Refuse weights that are no numbers, of which every output would be none."""
    if broken := not_finite(state):
        raise InputError(
            f'{source}: {listed(broken, 1)} hold NaN or infinite numbers, so its training '
            'has diverged: take an earlier checkpoint'
        )


def check_absorbed(model: nn.Module, source: str) -> None:
    """Refuse real weights in a stage whose signs carry no scale: it would give other numbers than the stage before."""
    for name, conv in binary_convolutions(model):
        if not bool((conv.weight.abs() == 1).all()):
            raise InputError(
                f'{source}: {name} has real weights, but this stage (absorb_scales) has weights of +-1 alone; if the '
                'checkpoint is of an earlier stage, name that with --stage'
            )
