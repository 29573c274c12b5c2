"""The bytes of a packed file: a safetensors file with known metadata, read only after its header was found right.

Metadata: ``format``, ``version``, ``config`` (JSON), ``real_layers`` (how real weights are stored) and ``checksum``,
the SHA-256 of config, real_layers and all tensors. What config and tensors mean is not known here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bireal_plugin.errors import InputError

FORMAT = 'bireal-packed'
VERSION = '1'
KEYS = ('format', 'version', 'config', 'real_layers', 'checksum')
DTYPES = {
    'F32': torch.float32,
    'F16': torch.float16,
    'BF16': torch.bfloat16,
    'U8': torch.uint8,
    'I8': torch.int8,
    'I64': torch.int64,
}
# Far more than any network of this package needs, and little enough to read without thinking.
MAX_FILE = 2 << 30
MAX_HEADER = 8 << 20
MAX_TENSORS = 20_000


@dataclass(frozen=True)
class PackedContent:
    """What is in a packed file whose checksum matches: parsed JSON, and tensors by name."""

    config: Any
    real_layers: str
    checksum: str
    tensors: dict[str, Tensor]


def write_packed(path: Path, config: Any, real_layers: str, tensors: dict[str, Tensor]) -> int:
    """Write the file, whole or not at all; its size in bytes."""
    if not path.parent.is_dir():
        raise InputError(f'{path} cannot be written: the folder {path.parent} does not exist')
    text = json.dumps(config, sort_keys=True)
    metadata = dict(format=FORMAT, version=VERSION, config=text, real_layers=real_layers)
    metadata['checksum'] = checksum(text, real_layers, tensors)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        save_file(tensors, str(partial), metadata=metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def read_packed(path: str | Path) -> PackedContent:
    """The content of a packed file.

    Raises:
        InputError: it is missing, truncated, changed, or of another format or version; nothing larger than the file
            was allocated.
    """
    path = Path(path)
    metadata = read_metadata(path)
    try:
        with safe_open(str(path), framework='pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, str(error)) from error
    text, real_layers = metadata['config'], metadata['real_layers']
    if metadata['checksum'] != checksum(text, real_layers, tensors):
        raise InputError(f'{path} was changed after it was written: its checksum does not match; get it again')
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}: its config is no JSON: {error}') from error
    return PackedContent(config, real_layers, metadata['checksum'], tensors)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a packed file whose header fits its size; no tensor is read."""
    if not path.is_file():
        raise InputError(f'packed file {path} does not exist')
    size = path.stat().st_size
    if size > MAX_FILE:
        raise InputError(f'{path} has {size:,} bytes, and packed networks have less than {MAX_FILE:,}')
    with path.open('rb') as file:
        start = file.read(8)
        length = struct.unpack('<Q', start)[0] if len(start) == 8 else 0
        if len(start) < 8 or length > size - 8:
            raise _unreadable(path, f'its header should have {length:,} bytes, and the whole file has {size:,}')
        if length > MAX_HEADER:
            raise _unreadable(path, f'its header of {length:,} bytes is longer than {MAX_HEADER:,}')
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f'its header cannot be read: {error}') from error
    if not isinstance(header, dict):
        raise _unreadable(path, 'its header is no JSON object')
    metadata = header.pop('__metadata__', {})
    if not isinstance(metadata, dict) or metadata.get('format') != FORMAT:
        raise InputError(f'{path} is a safetensors file, but not a packed network ({FORMAT})')
    if metadata.get('version') != VERSION:
        raise InputError(f'{path} has format version {metadata.get("version")!r}; this release reads {VERSION}')
    if set(metadata) != set(KEYS) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(f'{path} has metadata {", ".join(sorted(metadata))}; a packed file has {", ".join(KEYS)}')
    if len(header) > MAX_TENSORS:
        raise InputError(f'{path} has {len(header):,} tensors, and packed networks have less than {MAX_TENSORS:,}')
    _check_tensors(path, header, size - 8 - length)
    return metadata


def checksum(config: str, real_layers: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the config's text, the type of real layers, and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps([config, real_layers]).encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different; a second one would hide the first."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f'it has two entries {key!r}')
        found[key] = value
    return found


def _check_tensors(path: Path, header: dict[str, Any], data: int) -> None:
    """Types that are known, and extents that cover the ``data`` bytes behind the header, one after another."""
    extents = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {'dtype', 'shape', 'data_offsets'}:
            raise _unreadable(path, f'its entry {name!r} describes no tensor')
        dtype, shape, offsets = entry['dtype'], entry['shape'], entry['data_offsets']
        if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
            raise _unreadable(path, f'its entry {name!r} has no shape or no place')
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise InputError(f'{path}: {name} has type {dtype}, and packed files hold only {", ".join(DTYPES)}')
        if offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype].itemsize:
            raise _unreadable(path, f'its entry {name!r} has another size than its shape')
        extents.append(offsets)
    end = 0
    for begin, next_end in sorted(extents):
        if begin != end:
            raise _unreadable(path, 'its tensors overlap or leave gaps')
        end = next_end
    if end != data:
        raise _unreadable(path, f'its tensors should have {end:,} bytes and have {data:,}')


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _unreadable(path: Path, reason: str) -> InputError:
    return InputError(f'{path} is truncated or no safetensors file: {reason}')
