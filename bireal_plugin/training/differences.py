"""Differences between two configs: of their networks, and of two runs of which one continues the other."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.registry import DATA_SAMPLERS, DATASETS, MODELS, TRANSFORMS

from bireal_plugin.registry import BINARY_CONVOLUTIONS, SURROGATES, WEIGHT_BINARIZERS

TABLES = dict(conv=BINARY_CONVOLUTIONS, sign=SURROGATES, weight=WEIGHT_BINARIZERS)
# Keys that change how a network is trained or its outputs are used, and none of its outputs.
NOT_THE_NETWORK = (
    *('init_cfg', 'pretrained', 'train_cfg', 'test_cfg', 'label_smoothing', 'drop_rate', 'drop_path_rate'),
    *('frozen_stages', 'norm_eval', 'with_cp', 'zero_init_residual', 'requires_grad'),
)
# Places of files, which may have moved since; their content is counted instead.
PLACES = ('root', 'data_root', 'teacher_checkpoint', 'backend_args', 'file_client_args')
# Parts of a config that a resumed run takes as they are now.
SCHEDULE = ('optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr')
MISSING = object()


class Difference(NamedTuple):
    """One key of two configs and its values, as text."""

    key: str
    before: str
    now: str

    def __str__(self) -> str:
        return f'{self.key.removeprefix(".")} = {self.now} (was {self.before})'


def network_difference(one: Any, other: Any) -> Difference | None:
    """The first difference of two configs of models, its key as in ``.backbone.activation``; None of one network."""
    return next(_differences(_complete(one), _complete(other), ''), None)


def mixed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Differences of two runs' configs by which a checkpoint would be of two networks, or of two sets of data."""
    return list(_differences(_identity(before), _identity(now), ''))


def rescheduled(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Differences in how two runs train: optimizer, learning rate and its schedule, length."""
    return _of_keys(before, now, SCHEDULE)


def retuned(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """All other differences in what two runs train with, which a resumed run takes too: losses, hooks, loaders."""
    return _of_keys(before, now, ('model', 'data_preprocessor', 'train_dataloader', 'custom_hooks', 'sync_bn'))


def _of_keys(before: Mapping[str, Any], now: Mapping[str, Any], keys: Collection[str]) -> list[Difference]:
    theirs, ours = ({key: _listed(each.get(key)) for key in keys} for each in (before, now))
    return list(_differences(theirs, ours, ''))


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those parts of a run's config that may not change while it is trained; see also ``resume.data_facts``."""
    loader, loop, seeds = (config.get(key) or {} for key in ('train_dataloader', 'train_cfg', 'randomness'))
    parts = {key: config.get(key) for key in ('model', 'data_preprocessor')}
    parts['train_dataloader'] = {key: loader.get(key) for key in ('dataset', 'sampler', 'batch_sampler')}
    parts['randomness'] = dict(seed=seeds.get('seed'), diff_rank_seed=bool(seeds.get('diff_rank_seed')))
    parts['absorb_scales'] = bool(config.get('absorb_scales'))
    return {**_complete(parts, ignored=(*NOT_THE_NETWORK, *PLACES)), 'train_cfg.by_epoch': loop.get('by_epoch', True)}


def _differences(one: Any, other: Any, key: str) -> Iterator[Difference]:
    if isinstance(one, dict) and isinstance(other, dict) and one.get('type') == other.get('type'):
        for name in {**one, **other}:
            yield from _differences(one.get(name, MISSING), other.get(name, MISSING), f'{key}.{name}')
    elif one != other:
        yield Difference(key, _shown(one), _shown(other))


def _shown(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get('type'), str):
        return value['type']
    text = 'nothing' if value is MISSING else repr(value)
    return text if len(text) <= 100 else f'{text[:100]}...'


def _complete(value: Any, key: str = '', ignored: Collection[str] = NOT_THE_NETWORK) -> Any:
    """``value`` with the defaults of what its types build, and without the keys that are ``ignored``."""
    if key in TABLES and isinstance(value, str):
        value = {'type': value}
    if isinstance(value, Mapping):
        kind = value.get('type')
        if isinstance(kind, str) and '.' not in kind:  # mmengine imports modules by a name with dots
            tables = [TABLES[key].classes] if key in TABLES else (MODELS, DATASETS, TRANSFORMS, DATA_SAMPLERS)
            kind = next((found for table in tables if (found := table.get(kind)) is not None), None)
        arguments = inspect.signature(kind).parameters.values() if isinstance(kind, type) else ()
        content = {each.name: each.default for each in arguments if each.default is not each.empty} | dict(value)
        if (usual := getattr(kind, 'usual', None)) is not None:  # None stands for what the depth has
            own_defaults = usual(content.get('depth'), content.get('num_stages'))
            content |= {name: item for name, item in own_defaults.items() if content.get(name) is None}
        if 'conv' in content:  # the sign and the weight of a backbone are its convolutions'
            conv = {'type': content['conv']} if isinstance(content['conv'], str) else dict(content['conv'])
            given = {name: content.pop(name) for name in ('sign', 'weight') if name in content}
            content['conv'] = {**conv, **{name: item for name, item in given.items() if item is not None}}
        return {
            name: _complete(item, name, ignored)
            for name, item in content.items()
            if name not in ignored and not str(name).startswith('loss')
        }
    return _listed(value) if not isinstance(value, (list, tuple)) else [_complete(item, '', ignored) for item in value]


def _listed(value: Any) -> Any:
    """``value`` with lists in the place of tuples, which some files cannot hold."""
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value
