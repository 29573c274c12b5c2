"""Names for interchangeable mathematics: sign surrogates, weight binarizers and 1-bit convolutions.

Runner-level parts (models, datasets, hooks, metrics) live in mmengine's root registries instead, so that every
OpenMMLab library finds them; there the tables are shown too, see ``NameTable.show_in``. This file needs no other
package, so that ``bireal_plugin.binary`` needs torch alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from bireal_plugin.errors import InputError

T = TypeVar('T', bound=type)


class NameTable:
    """Maps a class name to its class and builds instances from config entries."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.classes: dict[str, type] = {}
        self.shown_in: list[Any] = []

    def register(self, cls: T) -> T:
        """Class decorator that enters the class under its name.

        Raises:
            KeyError: there is a class of that name already.
        """
        if cls.__name__ in self.classes:
            raise KeyError(f'{self.kind} {cls.__name__} is registered twice')
        self.classes[cls.__name__] = cls
        for registry in self.shown_in:
            registry.register_module(name=cls.__name__, module=cls)
        return cls

    def show_in(self, registry: Any) -> None:
        """Enter every class, those of the table's future too, into a registry of mmengine under the same name."""
        self.shown_in.append(registry)
        for name, cls in self.classes.items():
            registry.register_module(name=name, module=cls)

    def get(self, name: str) -> type:
        """Class called ``name``.

        Raises:
            InputError: there is none; the sentence lists the names there are.
        """
        if name not in self.classes:
            raise InputError(f'unknown {self.kind} {name!r}; there are: {", ".join(sorted(self.classes))}')
        return self.classes[name]

    def build(self, config: Any) -> Any:
        """An instance from a name, from ``dict(type=name, **arguments)``, or ``config`` itself if it is one already."""
        if isinstance(config, tuple(self.classes.values())):
            return config
        if isinstance(config, str):
            config = {'type': config}
        if not isinstance(config, Mapping) or 'type' not in config:
            raise InputError(f"a {self.kind} is given as a name or as dict(type='Name', ...), not as {config!r}")
        arguments = {key: value for key, value in config.items() if key != 'type'}
        try:
            return self.get(config['type'])(**arguments)
        except TypeError as error:
            raise InputError(f'{self.kind} {config["type"]} does not take {arguments}: {error}') from error


SURROGATES = NameTable('sign surrogate')
WEIGHT_BINARIZERS = NameTable('weight binarizer')
BINARY_CONVOLUTIONS = NameTable('binary convolution')
