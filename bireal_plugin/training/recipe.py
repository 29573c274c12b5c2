"""A recipe and its stages: the config of one, its network, and a check of all of them before the first one trains."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, LOOPS, MODELS, PARAM_SCHEDULERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn

from bireal_plugin.checkpoints.file import PHASES
from bireal_plugin.errors import InputError
from bireal_plugin.training.config import CONFIG_KEYS, config_mistakes, scope_of
from bireal_plugin.training.hooks.plan import settle_phases


def stage_config(config: Config, name: str) -> Config:
    """The ordinary config of one stage: the whole without ``stages``, the stage's overrides merged in.

    ``stage`` is the stage's name in it, ``recipe`` the names of all.
    """
    content = config.to_dict()
    stages = content.pop('stages')
    if name not in stages:
        raise InputError(f'there is no stage {name!r}; the stages are: {", ".join(stages)}')
    merged = Config(content, filename=config.filename)
    merged.merge_from_dict(stages[name])
    merged.stage, merged.recipe = name, list(stages)
    return merged


def build_model(config: Config) -> nn.Module:
    """The network of an ordinary config, with weights as they are drawn; in the ``phases`` of one that is loaded with.

    Raises:
        InputError: the config has no model, or one that cannot be built.
    """
    if not config.get('model'):
        raise InputError(f'{config.filename} has no model')
    with config_mistakes(str(config.filename)), scope_of(config):
        model, shared = config.model, config.get('data_preprocessor')
        kind = MODELS.get(model['type']) if isinstance(model.get('type'), str) else model.get('type')
        if shared and isinstance(kind, type) and issubclass(kind, BaseModel):  # as a Runner hands it over
            model = {'data_preprocessor': shared, **model}
        built = MODELS.build(model)
        settle_phases(built, config.get(PHASES) or {})
        return built


def stage_model(config: Config, name: str | None = None) -> nn.Module:
    """The network of one stage of a recipe, by default of the last; of an ordinary config its own."""
    return build_model(chosen_stage(config, name))


def chosen_stage(config: Config, name: str | None = None) -> Config:
    """The ordinary config of one stage of a recipe, by default of the last; an ordinary config itself.

    Raises:
        InputError: there is no such stage.
    """
    if config.get('stages'):
        return stage_config(config, name or list(config.stages)[-1])
    if name not in (None, config.get('stage')):
        raise InputError(f'--stage {name}: {config.filename} has no stages')
    return config


def check_stages(config: Config) -> None:
    """Build every stage's network (without memory), optimizer, schedulers and validation data, and throw them away.

    Raises:
        InputError: a stage that cannot be built, naming the stage and the mistake.
    """
    stages = config.stages
    if not isinstance(stages, dict) or not stages:
        raise InputError(f'stages must map stage names to config overrides, not {type(stages).__name__}')
    seen: list[Any] = []
    for name, overrides in stages.items():
        with config_mistakes(f'{config.filename}, stage {name}'), scope_of(config):
            if not isinstance(overrides, dict):
                raise InputError(f'a stage must be a dict of config overrides, not {overrides!r}')
            unknown = overrides.keys() - config.keys() - CONFIG_KEYS - {'absorb_scales'}
            if unknown:
                raise InputError(f'nothing reads {", ".join(sorted(unknown))}; the config has: {", ".join(config)}')
            stage = stage_config(config, name)
            with torch.device('meta'):
                wrapper = build_optim_wrapper(MODELS.build(stage.model), stage.optim_wrapper)
            schedulers = stage.get('param_scheduler') or []
            for scheduler in schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]:
                PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=wrapper, epoch_length=1))
            _check_loop(stage.train_cfg)
            dataset = (stage.get('val_dataloader') or {}).get('dataset')
            if dataset is not None and dataset not in seen:
                DATASETS.build(dataset)
                seen.append(dataset)


def _check_loop(train_cfg: Mapping[str, Any]) -> None:
    options = dict(train_cfg)
    usual = EpochBasedTrainLoop if options.pop('by_epoch', True) else IterBasedTrainLoop
    loop = LOOPS.get(options.pop('type')) if 'type' in options else usual
    try:
        inspect.signature(loop).bind(runner=None, dataloader=None, **options)
    except TypeError as error:
        raise InputError(f'train_cfg={dict(train_cfg)}: {error}') from error
    for length in ('max_epochs', 'max_iters'):
        if options.get(length, 1) < 1:
            raise InputError(f'{length} must be 1 or more')
