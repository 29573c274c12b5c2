"""Check of the config in a packed file: it may build networks of this repository, their parts, and nothing else.

A config names classes and gives them arguments. Whoever writes a file could otherwise have anything built that is
registered somewhere, such as a model that reads a file or an address of its own, or allocate what no file holds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from mmengine.registry import MODELS

from bireal_plugin.errors import InputError
from bireal_plugin.models.norm import TORCH_NORMS
from bireal_plugin.registry import BINARY_CONVOLUTIONS, SURROGATES, WEIGHT_BINARIZERS

FORBIDDEN = {
    'init_cfg': 'a packed file has its weights inside',
    'pretrained': 'a packed file has its weights inside',
    'device': 'a network is built without memory first',
    'dtype': 'a network computes in float32',
    '_scope_': 'its networks are found without another library',
}
# Loops of Python run over these, before any tensor of the file could be compared with what they make.
LIMITS = dict(weight_bases=16, activation_bases=16, bases=16)
MAX_DEPTH = 20
_NETWORKS: dict[str, frozenset[str]] = {}


def allow_in_packed_files(*types: str, networks: Iterable[str] = ()) -> None:
    """Let packed files hold networks of these types, by their names in ``MODELS``.

    Only for types that open no file and no address, whatever arguments they get, and whose tensors are made on the
    current default device. Their buffers must be in the state dict.

    Args:
        networks: keywords of these types that take the config of a network, such as 'backbone'.
    """
    for name in types:
        _NETWORKS[name] = frozenset(networks)


allow_in_packed_files('BiRealClassifier', networks=('backbone', 'data_preprocessor'))
allow_in_packed_files('BiRealResNet', 'BiRealResNet_CIFAR', 'TimmBiRealResNet', 'ImagePreprocessor')


def modules_of_networks() -> list[str]:
    """Modules that define the types allowed here, but for a script's own."""
    known = (MODELS.module_dict.get(name) for name in _NETWORKS)
    return sorted({network.__module__ for network in known if network is not None} - {'__main__'})


def plain_config(config: Any) -> Any:
    """``config`` as JSON knows it: dicts, lists, texts and numbers.

    Raises:
        InputError: there is anything else in it.
    """
    try:
        return json.loads(json.dumps(config, default=dict))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f'the config cannot be written as JSON, and a packed file needs it so: {error}') from error


def check_config(config: Any, *, source: str) -> None:
    """Refuse a parsed config that builds anything but networks allowed in packed files.

    Raises:
        InputError: the sentence starts with ``source`` and names the key.
    """
    _check_network(config, 'the network', source, 0)


def _check_network(config: Any, where: str, source: str, depth: int) -> None:
    if not isinstance(config, dict):
        raise InputError(f'{source}: {where} is described by a dict with a type, not by {_short(config)}')
    _check_type(config.get('type'), _NETWORKS, where, source)
    for key, value in config.items():
        _check_key(key, value, source, depth)
        if key not in _NETWORKS[config['type']]:
            _check_part(key, value, source, depth + 1)
        elif value is not None:
            for network in value if isinstance(value, list) else [value]:
                _check_network(network, key, source, depth + 1)


def _check_part(key: str, value: Any, source: str, depth: int) -> None:
    """An argument that is no network: numbers, texts, and named parts of this package."""
    if isinstance(value, dict):
        if 'type' in value:
            _check_type(value['type'], _parts(key), key, source)
        for inner, item in value.items():
            _check_key(inner, item, source, depth)
            _check_part(inner, item, source, depth + 1)
    elif isinstance(value, list):
        for item in value:
            # dict() would make a config of a list of pairs.
            if isinstance(item, list) and not all(isinstance(number, (int, float)) for number in item):
                raise InputError(f'{source}: {key} holds a list in a list, {_short(item)}, which is not of numbers')
            _check_part(key, item, source, depth + 1)


def _check_key(key: str, value: Any, source: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f'{source}: its config is nested more than {MAX_DEPTH} deep')
    if key in FORBIDDEN and value is not None:
        raise InputError(f'{source}: {key} has no place in the config of a packed file: {FORBIDDEN[key]}; leave it out')
    if key in LIMITS and not (isinstance(value, int) and value <= LIMITS[key]):
        raise InputError(f'{source}: {key} is a whole number up to {LIMITS[key]} in a packed file, not {_short(value)}')


def _check_type(kind: Any, allowed: Collection[str], where: str, source: str) -> None:
    if not isinstance(kind, str) or kind not in allowed:
        hint = ' (types of another package are known once it is imported)' if allowed is _NETWORKS else ''
        raise InputError(f'{source}: {where} may be {", ".join(allowed)} in a packed file, not {_short(kind)}{hint}')


def _parts(key: str) -> Collection[str]:
    by_key: dict[str, Collection[str]] = {'norm_cfg': TORCH_NORMS, 'conv_cfg': ('Conv2d', 'Conv')}
    return by_key.get(key) or [*BINARY_CONVOLUTIONS.classes, *SURROGATES.classes, *WEIGHT_BINARIZERS.classes]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
