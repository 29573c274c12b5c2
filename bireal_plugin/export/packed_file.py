"""The canonical artefact: a folded network in one safetensors file, loaded without running anything from it.

Content: the folded state dict (1-bit weights packed 8 per byte, one scale and bias per channel, real layers); in the
metadata the model's config as JSON, a format version and a checksum over both. The file is checked as a whole, and its
tensors against the network that the config describes, before any memory is taken for that network.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.registry import MODELS
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.fold import fold, fold_

FORMAT = 'bireal-packed'
VERSION = '1'
RealLayers = Literal['float32', 'float16', 'bfloat16']
DTYPES: dict[str, torch.dtype] = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}
# What a file may ask to be built. Anything else registered could read files or addresses of its own.
MODEL_TYPES = ('BiRealClassifier', 'BiRealResNet', 'ImagePreprocessor')
MODEL_TEXTS = ('init_cfg', 'pretrained')


def save_packed(
    model: nn.Module, config: Mapping[str, Any], path: str | Path, *, real_layers: RealLayers = 'float32'
) -> int:
    """Fold ``model`` and write it to ``path``; its size in bytes. The file appears whole or not at all.

    Args:
        config: the config that ``MODELS`` builds ``model`` from.
        real_layers: type in which the weights of real layers are stored; they compute in float32 again.

    Raises:
        InputError: the model cannot be folded, or the config builds something that a packed file may not hold.
    """
    path = Path(path)
    if real_layers not in DTYPES:
        raise InputError(f'real_layers is {", ".join(DTYPES)}, not {real_layers!r}')
    plain = json.loads(json.dumps(_plain_config(config)))
    _check_config(plain, source='the config')
    state = {name: _stored(value, DTYPES[real_layers]) for name, value in fold(model).state_dict().items()}
    text = json.dumps(plain, sort_keys=True)
    metadata = dict(format=FORMAT, version=VERSION, config=text, checksum=_checksum(state, text))
    partial = path.with_name(f'.{path.name}.partial')
    try:
        save_file(state, str(partial), metadata=metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def load_packed(path: str | Path) -> nn.Module:
    """The folded network in a packed file, in evaluation mode; it predicts exactly what :func:`fold` gives.

    Raises:
        InputError: the file is missing, truncated, changed, of another format or version, or not the network it claims.
    """
    config, state = read_packed(path)
    with torch.device('meta'):
        try:
            model = fold_(MODELS.build(config))
        except (InputError, TypeError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            raise InputError(f'{path}: its config cannot be built: {error}') from error
    expected = model.state_dict()
    wrong = [
        name
        for name in expected.keys() | state.keys()
        if name not in expected or name not in state or expected[name].shape != state[name].shape
    ]
    if wrong:
        raise InputError(
            f'{path}: {len(wrong)} tensors ({sorted(wrong)[0]}, ...) do not belong to the network it claims'
        )
    restored = {name: _restored(value, expected[name].dtype) for name, value in state.items()}
    model.load_state_dict(restored, assign=True)
    _materialise_constants(model, config)
    return model.eval()


def read_packed(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors of a packed file, after its format, version and checksum were found right."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f'packed file {path} does not exist')
    try:
        with safe_open(str(path), framework='pt') as file:
            metadata = file.metadata() or {}
            if metadata.get('format') != FORMAT:
                raise InputError(f'{path} is a safetensors file, but not a packed network ({FORMAT})')
            if metadata.get('version') != VERSION:
                raise InputError(f'{path} has format version {metadata.get("version")!r}; this release reads {VERSION}')
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (SafetensorError, OSError) as error:
        raise InputError(f'{path} is truncated or no safetensors file: {error}') from error
    text = metadata.get('config', '')
    if metadata.get('checksum') != _checksum(state, text):
        raise InputError(f'{path} was changed after it was written: its checksum does not match; get it again')
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f'{path}: its config is no JSON: {error}') from error
    _check_config(config, source=str(path))
    return config, state


def _checksum(state: Mapping[str, Tensor], config: str) -> str:
    digest = hashlib.sha256(config.encode())
    for name in sorted(state):
        value = state[name].contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    # Scales and biases of 1-bit layers are few, and decide signs; matrices and kernels are what takes room.
    return value.to(dtype if value.is_floating_point() and value.dim() > 1 else value.dtype).cpu().contiguous()


def _restored(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _plain_config(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain_config(item) for key, item in value.items()}
    return [_plain_config(item) for item in value] if isinstance(value, (list, tuple)) else value


def _check_config(config: Any, *, source: str) -> None:
    """Refuse a config that builds anything but plain networks of this package."""
    if isinstance(config, dict):
        for key in MODEL_TEXTS:
            if config.get(key) is not None:
                raise InputError(f'{source}: {key} has no place in a packed file, whose weights are inside')
        for key in ('backbone', 'data_preprocessor'):
            _check_config(config.get(key), source=source)
        if config.get('type') not in MODEL_TYPES:
            raise InputError(f'{source}: a packed file holds {", ".join(MODEL_TYPES)}, not {config.get("type")!r}')
    elif config is not None:
        raise InputError(f'{source}: a network is described by a dict with a type, not by {config!r}')


def _materialise_constants(model: nn.Module, config: Mapping[str, Any]) -> None:
    """Buffers outside the state dict (the preprocessor's mean and std) are built again with their values."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if preprocessor is not None:
        model.data_preprocessor = MODELS.build(config.get('data_preprocessor') or dict(type='ImagePreprocessor'))
