"""Loading weights into a Bi-Real network: its own, or those of a stock ResNet under the Bi-Real names.

Every loading is counted and told; nothing is left out silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import timm
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from bireal_plugin.errors import InputError

State = dict[str, Tensor]


@CheckpointLoader.register_scheme(prefixes='timm://')
def load_from_timm(filename: str, map_location: Any = None, logger: Any = None) -> State:
    """Weights of a pretrained timm model, ``timm://resnet50.a1_in1k``, wherever mmengine takes a checkpoint."""
    name = filename.removeprefix('timm://')
    if name.split('.')[0] not in timm.list_models():
        raise InputError(f'{filename}: timm has no model {name!r}; timm.list_pretrained() lists those with weights')
    return timm.create_model(name, pretrained=True).state_dict()


def resnet_to_bireal(state: State, model: nn.Module) -> State:
    """Rename the weights of a torchvision, timm or OpenMMLab ResNet to those of ``model``.

    * A basic block of two convolutions becomes two blocks of one: ``layer1.0.conv2`` -> ``layer1.1.conv1``.
    * The shortcut has an average pool in front: ``downsample.0`` (convolution) -> ``downsample.1``, ``.1`` -> ``.2``.
    * ``backbone.`` is put in front or taken away as ``model`` has it.

    Each renaming happens only where ``model`` lacks the stock name, so weights that have the model's names already, and
    those of a model without a Bi-Real backbone, come back unchanged.
    """
    names = model.state_dict().keys()
    wants_prefix = any(key.startswith('backbone.') for key in names)
    has_prefix = any(key.startswith('backbone.') for key in state)
    split_blocks = _has(r'layer1\.\d+\.conv2\.', state) and not _has(r'layer1\.\d+\.conv2\.', names)
    # In a stock shortcut the convolution is entry 0 (entry 0 is the average pool, without weights, in ours and in -D).
    stock_shortcut = r'layer\d\.\d+\.downsample\.0\.weight$'
    shift_shortcuts = _has(stock_shortcut, state) and not _has(stock_shortcut, names)
    head_fc = 'fc.weight' in names

    renamed: State = {}
    for key, value in state.items():
        if split_blocks:
            key = re.sub(r'(layer\d)\.(\d+)\.(conv|bn)([12])\.', _split_block, key)
            key = re.sub(r'(layer\d)\.(\d+)\.downsample', lambda m: f'{m[1]}.{2 * int(m[2])}.downsample', key)
        if shift_shortcuts:
            key = re.sub(r'(layer\d\.\d+\.downsample)\.([01])\.', lambda m: f'{m[1]}.{int(m[2]) + 1}.', key)
        if head_fc:
            key = re.sub(r'^head\.fc\.', 'fc.', key)
        if wants_prefix and not has_prefix and not key.startswith('fc.'):
            key = f'backbone.{key}'
        elif has_prefix and not wants_prefix:
            key = key.removeprefix('backbone.')
        renamed[key] = value
    return renamed


def _has(pattern: str, names: Iterable[str]) -> bool:
    return any(re.search(pattern, name) for name in names)


def _split_block(match: re.Match[str]) -> str:
    stage, block, kind, index = match[1], int(match[2]), match[3], int(match[4])
    return f'{stage}.{2 * block + index - 1}.{kind}1.'


def load_weights(model: nn.Module, state: State, *, source: str, strict: bool) -> str:
    """Copy what fits of ``state`` into ``model``; the report of what matched and what did not.

    Args:
        source: what the sentences call the weights (a file name).
        strict: demand that names and shapes agree completely.

    Raises:
        InputError: nothing fits, or ``strict`` and something does not.
    """
    state = resnet_to_bireal(state, model)
    target = model.state_dict()
    wrong_shape = [key for key in state if key in target and state[key].shape != target[key].shape]
    matched = {key: value for key, value in state.items() if key in target and key not in wrong_shape}
    missing = [key for key in target if key not in state]
    unknown = [key for key in state if key not in target]
    report = f"{source}: {len(matched)} of the model's {len(target)} tensors loaded"
    for kind, keys in (('not in the file', missing), ('not in the model', unknown), ('of another shape', wrong_shape)):
        if keys:
            report += f'; {len(keys)} {kind} ({", ".join(keys[:4])}{", ..." if len(keys) > 4 else ""})'
    if not matched or (strict and len(matched) < max(len(target), len(state))):
        raise InputError(f'{report}; these weights belong to another network')
    model.load_state_dict(matched, strict=False)
    return report
