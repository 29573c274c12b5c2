"""Loading weights of any layout (``layouts.py``) into a network: counted and told, nothing is left out silently."""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import timm
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from bireal_plugin.binary.switch import binary_convolutions
from bireal_plugin.checkpoints.file import Checkpoint, read_checkpoint, refused, state_dict_of
from bireal_plugin.checkpoints.layouts import OWN, PUBLISHED_BASIC, STOCK, Naming, check_depth, naming
from bireal_plugin.errors import InputError, listed
from bireal_plugin.hosts.mmengine_private import note_initialisation

State = dict[str, Tensor]


@CheckpointLoader.register_scheme(prefixes='timm://')
def load_from_timm(filename: str, map_location: Any = None, logger: Any = None) -> State:
    """Weights of a pretrained timm model, ``timm://resnet50.a1_in1k``, wherever mmengine takes a checkpoint."""
    name = filename.removeprefix('timm://')
    if name.split('.')[0] not in timm.list_models():
        raise InputError(f'{filename}: timm has no model {name!r}; timm.list_pretrained() lists those with weights')
    return timm.create_model(name, pretrained=True).state_dict()


def fetch_checkpoint(address: str, *, map_location: Any = 'cpu') -> Checkpoint:
    """The content of a file, or of ``torchvision://``, ``open-mmlab://``, ``timm://``, ``https://`` and whatever else
    mmengine knows; tensors and plain values only.

    Raises:
        InputError: there is no such thing, it cannot be fetched or read, or holds code.
    """
    if '://' not in address:
        return read_checkpoint(address, map_location=map_location)
    try:
        # mmengine downloads through torch.hub, which unpickles anything unless the environment says otherwise.
        with patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD='1'):
            return dict(CheckpointLoader.load_checkpoint(address, map_location=map_location, logger='current'))
    except pickle.UnpicklingError as error:
        raise refused(address, error) from error
    except (LookupError, RuntimeError, OSError) as error:
        reason = str(error).partition('\n')[0]
        raise InputError(
            f'{address} cannot be loaded ({type(error).__name__}: {reason}); check the name and the connection, or '
            'give a file'
        ) from error


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


@dataclass(frozen=True)
class LoadReport:
    """Report of one loading: ``str`` of it is a line for the log, ``mapping`` lists the renamed tensors.

    Attributes:
        source: name of the weights in sentences, such as a file name.
        total: number of the model's tensors.
        loaded: the model's name -> the file's, of what was copied.
        missing: the model's names that the file has nothing for, without explanation; ``naming.absent`` has the others.
        unknown: the file's names that the model has no place for; ``naming.dropped`` has those no network has.
        wrong_shape: the model's name -> shapes in the file and in the model.
        advice: a consequence for training; empty if there is none.
    """

    source: str
    naming: Naming
    total: int
    loaded: dict[str, str]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    advice: str = ''

    @property
    def complete(self) -> bool:
        """Everything fits but the tensors whose absence the layout explains."""
        return bool(self.loaded) and not (self.missing or self.unknown or self.wrong_shape)

    def sentence(self, limit: int) -> str:
        """Counts of tensors that fit and that do not, with up to ``limit`` names of each kind."""
        parts = [f"{self.source}: {len(self.loaded)} of the model's {self.total} tensors loaded"]
        if self.naming.layout != OWN:
            parts.append(f'names of a {self.naming.layout} mapped')
        for word, reasons in (('not in the file', self.naming.absent), ('left out', self.naming.dropped)):
            for reason in dict.fromkeys(reasons.values()):
                names = [name for name in reasons if reasons[name] == reason]
                parts.append(f'{len(names)} {word} ({listed(names, limit)}): {reason}')
        misfits = (('not in the file', self.missing), ('not in the model', self.unknown))
        for word, misfit in (*misfits, ('of another shape', tuple(self.wrong_shape))):
            if misfit:
                parts.append(f'{len(misfit)} {word} ({listed(misfit, limit)})')
        if self.wrong_shape:
            theirs, ours = next(iter(self.wrong_shape.values()))
            parts[-1] += f', the first {theirs} instead of {ours}'
        return '; '.join(parts)

    def __str__(self) -> str:
        return '; '.join(filter(None, [self.sentence(limit=4), self.advice]))

    def mapping(self) -> str:
        """One line per kind of renaming, ``count  file's name -> model's name``, block numbers as ``*``."""
        counts = Counter((_pattern(old), _pattern(new)) for new, old in self.loaded.items())
        return '\n'.join(f'{count:5d}  {old} -> {new}' for (old, new), count in counts.items())


def load_weights(model: nn.Module, state: State, *, source: str, strict: bool) -> LoadReport:
    """Copy the tensors of ``state`` that fit into ``model``, under translated names, and report all that do not.

    Args:
        source: name of the weights in sentences, such as a file name.
        strict: demand that names and shapes agree, but for what the layout explains.

    Raises:
        InputError: another depth or kind of network, nothing fits, or ``strict`` and something does not. The model is
            then unchanged.
    """
    target = model.state_dict()
    found = naming(state, target, source)
    check_depth(found.names.values(), target, source)
    tensors: State = {}
    wrong_shape = {}
    for old, new in found.names.items():
        if new not in target:
            continue
        value = state[old]
        if found.layout == PUBLISHED_BASIC and value.shape == (target[new].numel(), 1):
            value = value.view(target[new].shape)
        if value.shape == target[new].shape:
            tensors[new] = value
        else:
            wrong_shape[new] = (tuple(value.shape), tuple(target[new].shape))
    origin = {new: old for old, new in found.names.items()}
    binary = sum(conv.binary_input or conv.binary_weight for _, conv in binary_convolutions(model))
    advice = ''
    if found.layout == STOCK and binary:  # real weights behind a sign are a start for training and no trained network
        advice = (
            f'the {binary} 1-bit convolutions start from real weights trained behind ReLU: train real stages (ReLU, '
            'leaky clip, clip) before the binary one, as configs/_base_/recipe_basic.py does, or expect little of the '
            'start'
        )
    report = LoadReport(
        source=source,
        naming=found,
        total=len(target),
        loaded={new: origin[new] for new in tensors},
        missing=tuple(name for name in target if name not in origin and name not in found.absent),
        unknown=tuple(old for old, new in found.names.items() if new not in target),
        wrong_shape=wrong_shape,
        advice=advice,
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
    model.load_state_dict(tensors, strict=False)
    return report


class ReportedPretrained(PretrainedInit):
    """mmengine's ``Pretrained`` with the same arguments; mmengine's own loads what fits and says nothing.

    Raises:
        InputError: (on the call) the checkpoint cannot be read, has nothing under ``prefix``, or nothing of it fits.
    """

    def __call__(self, module: nn.Module) -> None:
        state = state_dict_of(fetch_checkpoint(self.checkpoint, map_location=self.map_location), self.checkpoint)
        if self.prefix is not None:
            state = part_of(state, self.prefix, self.checkpoint)
        report = load_weights(module, state, source=self.checkpoint, strict=False)
        level = logging.INFO if report.complete and not report.advice else logging.WARNING
        print_log(str(report), logger='current', level=level)
        note_initialisation(module, self)


def reporting(init_cfg: Any) -> Any:
    """``init_cfg`` with every ``Pretrained`` replaced by ours and put last, where mmengine puts it."""
    if not init_cfg:
        return init_cfg
    configs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg)
    pretrained = [config for config in configs if config['type'] in ('Pretrained', PretrainedInit)]
    others = [config for config in configs if config not in pretrained]
    return [*others, *(dict(config, type=ReportedPretrained) for config in pretrained)]


def _pattern(name: str) -> str:
    name = re.sub(r'(layer\d|layers)\.\d+', r'\1.*', name)
    return re.sub(r'layer\d', 'layer*', re.sub(r'(bn\d|downsample\.\d|fc)\.\w+$', r'\1.*', name))
