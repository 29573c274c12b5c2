"""Checkpoint files: tensors and plain values only, never code.

Their ``meta`` tells their origin: the config, stage and recipe that trained them, as plain data.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bireal_plugin.checkpoints.containers import drop_unread, plain_containers
from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole

Checkpoint = dict[str, Any]
VIEWS = 2**24  # bytes up to which a tensor may show its numbers more than once
# Errors of torch's unpickler on bytes that are no checkpoint.
UNREADABLE = (
    *(RuntimeError, EOFError, OSError, struct.error, ValueError, TypeError),
    *(LookupError, AttributeError, AssertionError, MemoryError),
)

ARCHIVE = b'PK\3\4'  # first bytes of a zip file
PROGRAMS = ('/constants.pkl', '/archive_format')  # parts of archives that are no checkpoints
KEY, DATASET, PHASES = 'trained', 'dataset_meta', 'phases'  # in the meta of a checkpoint
WEIGHTS = ('state_dict', 'model', 'model_state')  # entries that are taken before others
AVERAGED = ('state_dict_ema', 'model_ema', 'ema_state_dict')
# Parts of names that are wrappers' around a module: of DDP and averages, torch.compile, FSDP, checkpointing.
INNER, OUTER = r'\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.', r'^(?:module\.)+'
# Place and progress of one run, no part of the network or its data.
OF_ONE_RUN = (
    *('work_dir', 'load_from', 'resume', 'allow_changed', 'load_strict', 'allow_partial', 'experiment_name'),
    *('launcher', 'stage', 'recipe'),
)


def read_checkpoint(path: str | Path, *, map_location: Any = 'cpu') -> Checkpoint:
    """A checkpoint file's content, loaded with ``weights_only=True``; of ``.safetensors`` dict(state_dict, meta).

    Raises:
        InputError: the file is missing, truncated, damaged, no checkpoint, or needs code to be unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'checkpoint {path} does not exist')
    if path.suffix == '.safetensors':
        try:
            with safe_open(path, framework='pt') as file:
                names = file.keys()  # no mapping, and so not to be iterated over
                state = {name: file.get_tensor(name).to(map_location) for name in names}
                meta: dict[str, Any] = file.metadata() or {}
                for key in (KEY, DATASET):  # as JSON, since such a file holds texts alone; others are refused later
                    with suppress(KeyError, ValueError):
                        meta[key] = json.loads(meta[key])
                return dict(state_dict=state, meta=meta)
        except (SafetensorError, OSError) as error:
            raise InputError(f'checkpoint {path} is truncated or not a safetensors file') from error
    check_archive(path)
    try:
        with plain_containers():
            content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused(path, error) from error
    except UNREADABLE as error:
        raise InputError(f'checkpoint {path} is truncated or not a PyTorch file') from error
    if not isinstance(content, dict):
        raise InputError(f'checkpoint {path} holds a {type(content).__name__}, not a dictionary of weights')
    drop_unread(content)
    return content


def check_archive(path: Path) -> None:
    """Hold the parts of a checkpoint against their checksums, which torch writes and does not read.

    Files of torch before 1.6 have none, nor have those that were saved after ``set_crc32_options(False)``.

    Raises:
        InputError: a part has changed, or the file would unpack to more than it has.
    """
    with path.open('rb') as file:
        if file.read(len(ARCHIVE)) != ARCHIVE:
            return
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if any(part.filename.endswith(PROGRAMS) for part in parts):
                raise InputError(
                    f'checkpoint {path} is a program of torch.jit or torch.export; save a state_dict() of it'
                )
            if sum(part.file_size for part in parts) > path.stat().st_size:
                raise InputError(f'checkpoint {path} is a compressed archive; save it again with torch.save')
            broken = archive.testzip() if any(part.CRC for part in parts) else None
    except (zipfile.BadZipFile, zlib.error, *UNREADABLE) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'checkpoint {path} is truncated or not a PyTorch file') from error
    if broken is not None:
        raise InputError(
            f'checkpoint {path} was changed after it was written: the checksum of {broken} does not match; take '
            'another copy of it, or an earlier checkpoint'
        )


def as_bytes(content: Checkpoint) -> memoryview:
    """The bytes of a checkpoint file, as ``read_checkpoint`` reads them. (torch's own writer aborts on a full disk.)"""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def write_checkpoint(content: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint file, whole or not at all.

    Raises:
        InputError: the disk is full, or the folder is gone.
    """
    with whole(path) as partial:
        partial.write_bytes(as_bytes(content))


def refused(source: str | Path, error: pickle.UnpicklingError) -> InputError:
    """The sentence for a checkpoint that ``weights_only=True`` refused with ``error``."""
    found = re.search(r"(?:GLOBAL |but got <class ')([\w.]+)", str(error))
    if found is None:
        return InputError(f'checkpoint {source} is truncated or not a PyTorch file')
    return InputError(
        f'checkpoint {source} holds objects ({found[1]}) besides tensors and plain values and is not loaded, since '
        'unpickling it could run any code; save its state_dict alone where it came from'
    )


def state_dict_of(checkpoint: Mapping[str, Any], source: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint: an entry of it or itself, under the names that they have without wrappers.

    The entry is ``state_dict``, ``model`` or ``model_state``, or else the only one that holds weights (``net``,
    ``model_state_dict``). A second set, as of moving averages, is not taken, and the log says so.

    Raises:
        InputError: there are no tensors in it, or several entries of weights.
    """
    entry = _entry_of_weights(checkpoint, source)
    state: Any = checkpoint if entry is None else checkpoint[entry]
    averaged = next((name for name in AVERAGED if isinstance(checkpoint.get(name), Mapping)), entry)
    if averaged != entry:
        told = f'{source} holds a second set of weights, {averaged}; {entry} is taken'
        print_log(told, logger='current', level=logging.WARNING)
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f'{source} has no weights: neither it nor an entry of it maps names to tensors')
    names: dict[str, str] = {}
    for key, value in tensors.items():
        if not isinstance(key, str):
            raise InputError(f'{source}: its weights are called {key!r} and so on, and names are texts')
        if (kind := unusual(value)) is not None:
            raise InputError(f'{source}: {key} is {kind}, and weights are dense tensors of real numbers')
        if (other := names.setdefault(re.sub(OUTER, '', re.sub(INNER, '', key)), key)) != key:
            raise InputError(f'{source}: {other} and {key} are one name without their wrappers; remove one of them')
    return {name: tensors[key] for name, key in names.items()}


def _entry_of_weights(checkpoint: Mapping[str, Any], source: str | Path) -> str | None:
    """Name of the entry that holds the weights; None where the checkpoint itself does."""
    for key in WEIGHTS:
        if isinstance(checkpoint.get(key), Mapping):
            return key
    sets = [key for key, value in checkpoint.items() if isinstance(value, Mapping) and _holds_weights(value)]
    found = [key for key in sets if key not in AVERAGED] or sets
    if len(found) > 1:
        raise InputError(
            f'{source} holds several sets of weights, {" and ".join(map(str, found))}: save one of them alone'
        )
    return found[0] if found else None


def _holds_weights(entry: Mapping[Any, Any]) -> bool:
    """Whether it maps names to tensors, and not to states of random generators or counts alone."""
    return any(isinstance(value, Tensor) and value.dim() > 1 for value in entry.values())


def unusual(tensor: Tensor) -> str | None:
    """The kind of a tensor that is not dense, real and in memory, in a word; None for one that is."""
    if tensor.is_nested or tensor.layout is not torch.strided:
        return 'nested' if tensor.is_nested else f'sparse ({tensor.layout})'
    if tensor.is_complex() or tensor.is_quantized:
        return 'complex' if tensor.is_complex() else 'quantized'
    if tensor.is_meta and not torch.empty(0).is_meta:  # on that device everything is
        return 'without numbers'
    size = tensor.numel() * tensor.element_size()
    if size > VIEWS and size > tensor.untyped_storage().nbytes():
        return f'a view {tuple(tensor.shape)} of fewer numbers'
    return None


def not_finite(state: Mapping[str, Any]) -> list[str]:
    """Names of the tensors that hold NaN or infinite numbers."""
    floats = {name: each for name, each in state.items() if isinstance(each, Tensor) and each.is_floating_point()}
    return [name for name, each in floats.items() if not each.isfinite().all()]


@dataclass(frozen=True)
class Origin:
    """The training run behind a checkpoint.

    Attributes:
        config: the ordinary config of the run; of a recipe, that of the stage.
        stage: name in the recipe; None where there is none.
        recipe: names of all stages in their order; empty where there are none.
        name: of the config file, without suffix; None where there was none.
        phases: names of hooks to the phases that the network was in when it was saved, where hooks change it during the
            run; ``meta.phases`` of the checkpoint.
    """

    config: dict[str, Any]
    stage: str | None = None
    recipe: tuple[str, ...] = ()
    name: str | None = None
    phases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_run(cls, config: Mapping[str, Any], file: str | None = None) -> Origin:
        """From the config of a Runner, in which ``stage`` and ``recipe`` stand where it is a stage's."""
        kept = {key: value for key, value in config.items() if key not in OF_ONE_RUN}
        name = Path(file).stem if file else None
        return cls(plain(kept), config.get('stage'), tuple(config.get('recipe') or ()), name)

    def as_meta(self) -> dict[str, Any]:
        """The entries for a checkpoint's ``meta``."""
        told = asdict(self)
        phases = told.pop(PHASES)
        return {KEY: told} | ({PHASES: phases} if phases else {})


def origin_of(checkpoint: Mapping[str, Any], source: str) -> Origin | None:
    """The origin that a checkpoint tells; None for weights from elsewhere and for files of older versions.

    Raises:
        InputError: the entry is there and is damaged.
    """
    meta = checkpoint.get('meta')
    if not isinstance(meta, Mapping) or meta.get(KEY) is None:
        return None
    told = meta[KEY]
    if not isinstance(told, Mapping) or not isinstance(told.get('config'), Mapping):
        raise InputError(f'{source}: meta.{KEY} must hold the config of its training as a dict; the file is damaged')
    for key in ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'custom_imports'):
        if not isinstance(told['config'].get(key), (Mapping, type(None))):
            raise InputError(f'{source}: meta.{KEY}.config.{key} must be a dict; the file is damaged')
    stage, recipe, file = told.get('stage'), told.get('recipe'), told.get('name')
    text = (str, type(None))
    listed = isinstance(recipe, (list, tuple, type(None))) and all(isinstance(name, str) for name in recipe or ())
    if not (listed and isinstance(stage, text) and isinstance(file, text)):
        raise InputError(
            f'{source}: meta.{KEY} must name config and stages by text, not {file!r}, {stage!r} of {recipe}'
        )
    phases = meta.get(PHASES)  # another type is refused by those who put a network into them
    named = phases.items() if isinstance(phases, Mapping) else ()
    phases = {key: phase for key, phase in named if isinstance(phase, str)}
    return Origin(dict(told['config']), stage, tuple(recipe or ()), file, phases)


def plain(value: Any) -> Any:
    """Numbers, strings, tensors and containers of them, as ``torch.load(weights_only=True)`` takes them.

    numpy becomes Python or torch, a class or function its importable name, anything else its ``str``.
    """
    if isinstance(value, np.generic):  # first, since numpy.float64 is a float too
        return value.item()
    if isinstance(value, (bool, int, float, str, Tensor)) or value is None:
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in 'biuf' else value.tolist()
    if isinstance(value, Mapping):
        return {key if isinstance(key, (int, str)) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, type) or callable(value):
        return f'{value.__module__}.{value.__qualname__}' if hasattr(value, '__qualname__') else str(value)
    return str(value)
