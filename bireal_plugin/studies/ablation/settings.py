"""Settings that a grid was begun with, kept so that units trained with others are not compared with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole

SETTINGS = 'settings.json'
# Where the data lie and who watches may change between two starts of the same grid.
MOVABLE = ('data_root', 'root', 'num_workers', 'visualizer', 'default_hooks')


def keep_settings(config: Config, work_dir: Path) -> None:
    """Write the config to ``work_dir``, or check that it is the one that this grid was begun with.

    Raises:
        InputError: it is another one; results of both would be mixed.
    """
    settings = json.loads(json.dumps(_without_movable(config.to_dict()), default=str))
    path = work_dir / SETTINGS
    if path.is_file():
        changed = sorted(_differences(json.loads(path.read_text()), settings))
        if changed:
            raise InputError(
                f'{work_dir} was begun with another {", ".join(changed[:4])}; its units would not compare with new '
                'ones: take another --work-dir, or the settings from before'
            )
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_text(json.dumps(settings, indent=1) + '\n')


def _without_movable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_movable(item) for key, item in value.items() if key not in MOVABLE}
    return [_without_movable(item) for item in value] if isinstance(value, (list, tuple)) else value


def _differences(old: Any, new: Any, key: str = '') -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() | new.keys():
            yield from _differences(old.get(name), new.get(name), f'{key}.{name}' if key else name)
    elif old != new:
        yield key
