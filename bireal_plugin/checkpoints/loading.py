"""Loading weights of any layout (``layouts.py``) into a network: counted and told, nothing is left out silently."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import timm
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from bireal_plugin.binary.switch import binary_convolutions
from bireal_plugin.checkpoints.containers import drop_unread, plain_containers
from bireal_plugin.checkpoints.file import (
    DATASET,
    Checkpoint,
    Origin,
    origin_of,
    read_checkpoint,
    refused,
    state_dict_of,
)
from bireal_plugin.checkpoints.function import advice
from bireal_plugin.checkpoints.layouts import OWN, PUBLISHED_BASIC, TAKEN_IN, check_depth, mean_behind, naming
from bireal_plugin.checkpoints.report import LoadReport
from bireal_plugin.errors import InputError, listed
from bireal_plugin.hosts.mmengine_private import note_initialisation
from bireal_plugin.zoo import HUB, ZOO, is_address, local_file

State = dict[str, Tensor]
UNTOLD = 'the file does not tell how it was trained, so that names and shapes alone were compared'


@CheckpointLoader.register_scheme(prefixes='timm://')
def load_from_timm(filename: str, map_location: Any = None, logger: Any = None) -> State:
    """Weights of a pretrained timm model, ``timm://resnet50.a1_in1k``, wherever mmengine takes a checkpoint."""
    name = filename.removeprefix('timm://')
    if name.split('.')[0] not in timm.list_models():
        raise InputError(f'{filename}: timm has no model {name!r}; timm.list_pretrained() lists those with weights')
    return timm.create_model(name, pretrained=True).state_dict()


@CheckpointLoader.register_scheme(prefixes=(ZOO, HUB))
def load_from_zoo(filename: str, map_location: Any = None, logger: Any = None) -> Checkpoint:
    """Weights of ``zoo://NAME/training`` wherever an OpenMMLab library takes a checkpoint, as in ``load_from``.

    ``meta.dataset_meta.classes`` are the names that people read, as these libraries show them.

    Raises:
        InputError: there are none, or the file holds folded 1-bit weights.
    """
    content = read_checkpoint(local_file(filename), map_location=map_location or 'cpu')
    if any(name.endswith('.packed_weight') for name in content['state_dict']):
        raise InputError(
            f'{filename} holds folded 1-bit weights, which bireal_plugin.load reads; a network to train loads '
            f'{filename}/training, where the zoo has it'
        )
    told = content['meta'].get(DATASET) or {}
    content['meta'][DATASET] = {**told, 'classes': told.get('class_names') or told.get('classes')}
    return content


def fetch_checkpoint(address: str, *, map_location: Any = 'cpu') -> Checkpoint:
    """The content of a file, or of ``zoo://NAME/training``, ``torchvision://``, ``open-mmlab://``, ``timm://``,
    ``https://`` and whatever else mmengine knows; tensors and plain values only.

    Raises:
        InputError: there is no such thing, it cannot be fetched or read, or holds code.
    """
    if '://' not in address or is_address(address):
        return read_checkpoint(local_file(address), map_location=map_location)
    try:
        # mmengine downloads through torch.hub, which unpickles anything unless the environment says otherwise.
        with patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD='1'), plain_containers():
            content = dict(CheckpointLoader.load_checkpoint(address, map_location=map_location, logger='current'))
    except pickle.UnpicklingError as error:
        raise refused(address, error) from error
    except (LookupError, RuntimeError, OSError) as error:
        reason = str(error).partition('\n')[0]
        raise InputError(
            f'{address} cannot be loaded ({type(error).__name__}: {reason}); check the name and the connection, or '
            'give a file'
        ) from error
    drop_unread(content)
    return content


def part_of(state: Mapping[str, Tensor], prefix: str, source: str) -> State:
    """The tensors whose names start with ``prefix``, without it.

    Raises:
        InputError: there are none.
    """
    prefix = prefix if prefix.endswith('.') else f'{prefix}.'
    part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not part:
        starts = sorted({name.partition('.')[0] + '.' for name in state})
        raise InputError(f'{source}: no name starts with {prefix!r}; they start with {listed(starts, 12)}')
    return part


def load_weights(
    model: nn.Module,
    state: State,
    *,
    source: str,
    strict: bool,
    allow_partial: bool = False,
    origin: Origin | None = None,
) -> LoadReport:
    """Copy the tensors of ``state`` that fit into ``model``, under translated names, and report all that do not.

    Args:
        source: name of the weights in sentences, such as a file name.
        strict: demand that names and shapes agree, but for what the layout explains.
        allow_partial: take them too where less than half of the model's tensors and of the file's fit.
        origin: the training behind the weights, whose network is compared with the model, see ``function.py``.

    Raises:
        InputError: another depth or kind of network, nothing fits, less than half does, or ``strict`` and something
            does not. The model is then unchanged.
    """
    target = model.state_dict()
    found = naming(state, target, source)
    check_depth(found.names.values(), target, source)
    tensors: State = {}
    wrong_shape = {}
    for old, new in ((old, new) for old, new in found.names.items() if new in target):
        value = state[old]
        if found.layout == PUBLISHED_BASIC and value.shape == (target[new].numel(), 1):
            value = value.view(target[new].shape)
        if value.shape == target[new].shape:
            tensors[new] = value
        else:
            wrong_shape[new] = (tuple(value.shape), tuple(target[new].shape))
    ours = next(binary_convolutions(model), None) is not None  # whose norms stand behind the convolutions
    for old, new in list(found.names.items()) if ours else ():
        mean = mean_behind(new)
        if new not in target and mean in tensors and tensors[mean].shape == state[old].shape:
            tensors[mean] = tensors[mean] - state[old]
            found.dropped[old] = TAKEN_IN
            del found.names[old]
    placed = {new: old for old, new in found.names.items()}
    report = LoadReport(
        source=source,
        naming=found,
        total=len(target),
        loaded={new: placed[new] for new in tensors},
        missing=tuple(name for name in target if name not in placed and name not in found.absent),
        unknown=tuple(old for old, new in found.names.items() if new not in target),
        wrong_shape=wrong_shape,
    )
    for prefix in () if tensors else dict.fromkeys(name.partition('.')[0] + '.' for name in state if '.' in name):
        part = naming(part_of(state, prefix, source), target, source)
        if len(set(part.names.values()) & target.keys()) > len(target) // 2:
            raise InputError(
                f"{source}: the weights that fit are named {prefix}*, and the model's are not: give {prefix!r} as "
                'prefix of init_cfg, or as --prefix of tools/convert_checkpoint.py'
            )
    if not tensors or (strict and not report.complete):
        raise InputError(f'{report.sentence(limit=20)}; these weights belong to another network')
    if not strict and not allow_partial and 2 * len(tensors) < min(len(target), len(state)):
        raise InputError(
            f'{report.sentence(limit=4)}; less than half of the model and of the file fits, so these weights belong to '
            f'another network; to take the {len(tensors)} all the same, give allow_partial=True'
        )
    model.load_state_dict(tensors, strict=False)
    return replace(report, advice='; '.join(advice(model, found.layout, origin, tensors)))


def log_line(report: LoadReport, origin: Origin | None) -> str:
    """The line for the log, with a word on files that do not tell what was trained."""
    compared = origin is not None or report.naming.layout != OWN
    return str(report) if compared else f'{report}; {UNTOLD}'


class ReportedPretrained(PretrainedInit):
    """mmengine's ``Pretrained`` with the same arguments; mmengine's own loads what fits and says nothing.

    Args:
        strict, allow_partial: see ``load_weights``.

    Raises:
        InputError: (on the call) the checkpoint cannot be read, has nothing under ``prefix``, or too little of it fits.
    """

    def __init__(
        self, checkpoint: str, *args: Any, strict: bool = False, allow_partial: bool = False, **options: Any
    ) -> None:
        super().__init__(checkpoint, *args, **options)
        self.strict, self.allow_partial = strict, allow_partial

    def __call__(self, module: nn.Module) -> None:
        source = self.checkpoint
        content = fetch_checkpoint(source, map_location=self.map_location)
        state, origin = state_dict_of(content, source), origin_of(content, source)
        if self.prefix is not None:
            state = part_of(state, self.prefix, source)
        choices = dict(strict=self.strict, allow_partial=self.allow_partial)
        report = load_weights(module, state, source=source, origin=origin, **choices)
        print_log(log_line(report, origin), logger='current', level=report.level)
        note_initialisation(module, self)


def reporting(init_cfg: Any) -> Any:
    """``init_cfg`` with every ``Pretrained`` replaced by ours and put last, where mmengine puts it."""
    if not init_cfg:
        return init_cfg
    configs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg)
    pretrained = [config for config in configs if config['type'] in ('Pretrained', PretrainedInit)]
    others = [config for config in configs if config not in pretrained]
    return [*others, *(dict(config, type=ReportedPretrained) for config in pretrained)]
