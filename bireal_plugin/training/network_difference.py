"""The first entry in which two configs describe different networks, defaults of their classes filled in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import MODELS

from bireal_plugin.registry import BINARY_CONVOLUTIONS, SURROGATES, WEIGHT_BINARIZERS

TABLES = dict(conv=BINARY_CONVOLUTIONS, sign=SURROGATES, weight=WEIGHT_BINARIZERS)
# Keys that change how a network is trained or its outputs are used, and none of its outputs.
NOT_THE_NETWORK = {
    *('init_cfg', 'pretrained', 'train_cfg', 'test_cfg', 'label_smoothing', 'drop_rate', 'drop_path_rate'),
    *('frozen_stages', 'norm_eval', 'with_cp', 'zero_init_residual', 'requires_grad'),
}
MISSING = object()


def network_difference(one: Any, other: Any) -> tuple[str, Any, Any] | None:
    """``('.backbone.activation', 'clip', 'sign')`` of two configs of models; None where they are one network."""
    return _difference(_complete(one), _complete(other), '')


def _difference(one: Any, other: Any, key: str) -> tuple[str, Any, Any] | None:
    if isinstance(one, dict) and isinstance(other, dict) and one.get('type') == other.get('type'):
        for name in {**one, **other}:
            found = _difference(one.get(name, MISSING), other.get(name, MISSING), f'{key}.{name}')
            if found is not None:
                return found
        return None
    return None if one == other else (key, _shown(one), _shown(other))


def _shown(value: Any) -> str:
    if value is MISSING:
        return 'nothing'
    return value['type'] if isinstance(value, dict) and isinstance(value.get('type'), str) else repr(value)


def _complete(value: Any, key: str = '') -> Any:
    if key in TABLES and isinstance(value, str):
        value = {'type': value}
    if isinstance(value, Mapping):
        content = {**_defaults(value.get('type'), key), **value}
        if 'conv' in content:  # the sign and the weight of a backbone are its convolutions'
            conv = {'type': content['conv']} if isinstance(content['conv'], str) else dict(content['conv'])
            given = {name: content.pop(name) for name in ('sign', 'weight') if name in content}
            content['conv'] = {**conv, **{name: item for name, item in given.items() if item is not None}}
        return {
            name: _complete(item, name)
            for name, item in content.items()
            if name not in NOT_THE_NETWORK and not str(name).startswith('loss')
        }
    return [_complete(item) for item in value] if isinstance(value, (list, tuple)) else value


def _defaults(kind: Any, key: str) -> dict[str, Any]:
    """Defaults of the arguments of the class that an entry ``key`` of this type builds; none of an unknown class."""
    table = TABLES.get(key)
    if not isinstance(kind, str):
        built = kind
    elif table is None:
        built = MODELS.get(kind)
    else:
        built = table.classes.get(kind)
    if not isinstance(built, type):
        return {}
    parameters = inspect.signature(built).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}
