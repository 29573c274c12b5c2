"""Loading weights into a Bi-Real network: its own, or those of a stock ResNet under the Bi-Real names.

Every loading is counted and told; nothing is left out silently.
"""

from __future__ import annotations

import re
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

    Weights that have Bi-Real names already come back unchanged.
    """
    names = model.state_dict().keys()
    wants_prefix = any(key.startswith('backbone.') for key in names)
    has_prefix = any(key.startswith('backbone.') for key in state)
    one_conv_blocks = not any(re.search(r'layer1\.\d+\.conv2\.', key) for key in names)
    two_conv_state = any(re.search(r'layer1\.\d+\.conv2\.', key) for key in state)
    # In a stock shortcut the convolution is entry 0 (entry 0 is the average pool, without weights, in ours and in -D).
    stock_shortcut = any(re.search(r'downsample\.0\.weight$', key) for key in state)

    renamed: State = {}
    for key, value in state.items():
        if one_conv_blocks and two_conv_state:
            key = re.sub(r'(layer\d)\.(\d+)\.(conv|bn)([12])\.', _split_block, key)
            key = re.sub(r'(layer\d)\.(\d+)\.downsample', lambda m: f'{m[1]}.{2 * int(m[2])}.downsample', key)
        if stock_shortcut:
            key = re.sub(r'downsample\.([01])\.', lambda m: f'downsample.{int(m[1]) + 1}.', key)
        key = re.sub(r'^head\.fc\.', 'fc.', key)
        if wants_prefix and not has_prefix and not key.startswith('fc.'):
            key = f'backbone.{key}'
        elif has_prefix and not wants_prefix:
            key = key.removeprefix('backbone.')
        renamed[key] = value
    return renamed


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
