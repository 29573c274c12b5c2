"""The bytes of a packed file: a safetensors file with known metadata and a checksum over all of it.

Metadata: ``format``, ``version``, ``config`` (JSON), ``real_layers`` (how real weights are stored), ``metadata`` (JSON,
the exporter's texts) and ``checksum``, the SHA-256 of these and of all tensors. What they mean is not known here.
Version 1 had no ``metadata`` and named precisions as torch does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole
from bireal_plugin.zoo import local_file

FORMAT = 'bireal-packed'
VERSION = '2'
# What the checksum covers besides the tensors, by version.
TEXTS = {'1': ('config', 'real_layers'), VERSION: ('config', 'real_layers', 'metadata')}
PRECISIONS_OF_VERSION_1 = {'float32': 'f32', 'float16': 'f16', 'bfloat16': 'bf16'}


@dataclass(frozen=True)
class PackedContent:
    """Content of a packed file whose checksum matches: parsed JSON, and tensors by name."""

    config: Any
    real_layers: str
    metadata: Any
    version: str
    checksum: str
    tensors: dict[str, Tensor]


def write_packed(
    path: Path, config: Any, real_layers: str, tensors: dict[str, Tensor], metadata: Mapping[str, str]
) -> int:
    """Write the file, whole or not at all; return its size in bytes."""
    if not path.parent.is_dir():
        raise InputError(f'{path} cannot be written: the folder {path.parent} does not exist')
    texts = dict(
        config=json.dumps(config, sort_keys=True),
        real_layers=real_layers,
        metadata=json.dumps(dict(metadata), sort_keys=True),
    )
    digest = checksum(list(texts.values()), tensors)
    with whole(path) as partial:
        # save_file() would give the file its own permissions instead of the umask's.
        partial.write_bytes(save(tensors, dict(format=FORMAT, version=VERSION, checksum=digest, **texts)))
    return path.stat().st_size


def is_packed(path: str | Path) -> bool:
    """Whether a file says that it is a packed network, whole or not; ``zoo://NAME`` is one."""
    path = local_file(path)
    if path.suffix != '.safetensors' or not path.is_file():
        return False
    try:
        with safe_open(str(path), framework='pt') as file:
            return (file.metadata() or {}).get('format') == FORMAT
    except (SafetensorError, OSError):
        return False


def read_packed(path: str | Path) -> PackedContent:
    """The content of a packed file. safetensors refuses a damaged header, and the checksum everything else.

    Raises:
        InputError: the file is missing, truncated, changed, or of another format or version.
    """
    path = local_file(path)
    if not path.is_file():
        raise InputError(f'packed file {path} does not exist')
    try:
        with safe_open(str(path), framework='pt') as file:
            header = file.metadata() or {}
            if header.get('format') != FORMAT:
                raise InputError(f'{path} is a safetensors file, but not a packed network ({FORMAT})')
            version = header.get('version', 'none')
            if version not in TEXTS:
                raise InputError(
                    f'{path} has format version {version[:20]!r}; this release reads {" and ".join(TEXTS)}'
                )
            keys = ('format', 'version', *TEXTS[version], 'checksum')
            if set(header) != set(keys):
                found, wanted = ', '.join(sorted(header)), ', '.join(keys)
                raise InputError(f'{path} has metadata {found}; a packed file has {wanted}')
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except (SafetensorError, OSError) as error:
        reason = ' '.join(str(error).split())
        raise InputError(f'{path} is truncated or no safetensors file: {reason}') from error
    if checksum([header[key] for key in TEXTS[version]], tensors) != header['checksum']:
        raise InputError(f'{path} was changed after it was written: its checksum does not match; get it again')
    try:
        config, metadata = (json.loads(text) for text in (header['config'], header.get('metadata', '{}')))
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}: its config is no JSON: {error}') from error
    if not isinstance(metadata, dict):
        raise InputError(f'{path}: its metadata is no JSON object')
    real_layers = header['real_layers']
    if version == '1':
        real_layers = PRECISIONS_OF_VERSION_1.get(real_layers, real_layers)
    return PackedContent(config, real_layers, metadata, version, header['checksum'], tensors)


def checksum(texts: list[str], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the texts of the metadata, and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(texts).encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
