"""Reading checkpoint files: tensors and plain values only, never code."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bireal_plugin.errors import InputError

Checkpoint = dict[str, Any]
# Errors of torch's unpickler on bytes that are no checkpoint.
UNREADABLE = (
    *(RuntimeError, EOFError, OSError, struct.error, ValueError, TypeError),
    *(LookupError, AttributeError, AssertionError, MemoryError),
)


def read_checkpoint(path: str | Path, *, map_location: Any = 'cpu') -> Checkpoint:
    """A checkpoint file's content, loaded with ``weights_only=True``; of ``.safetensors`` dict(state_dict, meta).

    Raises:
        InputError: the file is missing, truncated, no checkpoint, or needs code to be unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'checkpoint {path} does not exist')
    if path.suffix == '.safetensors':
        return _read_safetensors(path, map_location)
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused(path, error) from error
    except UNREADABLE as error:
        raise InputError(f'checkpoint {path} is truncated or not a PyTorch file') from error
    if not isinstance(content, dict):
        raise InputError(f'checkpoint {path} holds a {type(content).__name__}, not a dictionary of weights')
    return content


def _read_safetensors(path: Path, device: Any) -> Checkpoint:
    try:
        with safe_open(path, framework='pt') as file:
            state = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118  no mapping
            return dict(state_dict=state, meta=file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f'checkpoint {path} is truncated or not a safetensors file') from error


def refused(source: str | Path, error: pickle.UnpicklingError) -> InputError:
    """The sentence for a checkpoint that ``weights_only=True`` refused with ``error``."""
    found = re.search(r'GLOBAL (\S+)', str(error))
    if found is None:
        return InputError(f'checkpoint {source} is truncated or not a PyTorch file')
    return InputError(
        f'checkpoint {source} holds objects ({found[1]}) besides tensors and plain values and is not loaded, since '
        'unpickling it could run any code; save its state_dict alone where it came from'
    )


def state_dict_of(checkpoint: Mapping[str, Any], source: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint: its ``state_dict`` (or ``model``) entry, or itself; ``module.`` prefixes removed.

    Raises:
        InputError: there are no tensors in it.
    """
    state: Any = checkpoint
    for key in ('state_dict', 'model', 'model_state'):
        if isinstance(checkpoint.get(key), Mapping):
            state = checkpoint[key]
            break
    tensors = {key.removeprefix('module.'): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f'{source} has no weights: neither it nor its entry state_dict maps names to tensors')
    return tensors
