"""Rewriting a checkpoint of any known layout under the names of one of our networks, as a file without code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import timm
import torch
from safetensors.torch import save
from torch import nn

from bireal_plugin.checkpoints.file import Origin, as_bytes, read_checkpoint, state_dict_of
from bireal_plugin.checkpoints.layouts import BLOCKS, CIFAR, HEAD, STOCK, naming, trunk_of
from bireal_plugin.checkpoints.loading import State, fetch_checkpoint, load_weights, part_of
from bireal_plugin.checkpoints.report import LoadReport
from bireal_plugin.errors import InputError, check_choice
from bireal_plugin.models.classifier import BiRealClassifier
from bireal_plugin.models.resnet import BiRealResNet, usual
from bireal_plugin.whole_file import whole

Target = Literal['backbone', 'classifier', 'timm']
SUFFIXES = ('.pth', '.safetensors')


def convert_checkpoint(
    source: str,
    target: Path,
    *,
    to: Target | None = None,
    depth: int | None = None,
    network: nn.Module | None = None,
    check: Callable[[nn.Module], None] | None = None,
    prefix: str | None = None,
    origin: Origin | None = None,
    overwrite: bool = False,
) -> LoadReport:
    """Read ``source``, load all of it into a network of its kind, and write the weights of that network to ``target``.

    The file is ``dict(state_dict, meta)``, or a safetensors file with ``meta`` as its metadata; it is read back
    and compared before it takes its name.

    Args:
        source: a file, or an address like ``torchvision://resnet50``.
        target: ``.pth`` or ``.safetensors``.
        to: 'classifier' or 'backbone', whose names are written; by default a classifier where the source has one.
        depth: of the network; by default as the names in the source tell.
        network: loaded into (and so changed) instead of a network built after the names and shapes of the source.
        check: called with the network once it has the weights; it raises InputError where they do not do.
        prefix: use the tensors under this prefix alone.
        origin: of ``network``; the file carries it, as a checkpoint that was trained so.
        overwrite: replace ``target`` if it exists.

    Raises:
        InputError: anything of the source does not fit (see ``load_weights``), or ``target`` exists.
    """
    if target.suffix not in SUFFIXES:
        raise InputError(f'{target} must end in {" or ".join(SUFFIXES)}')
    if target.is_dir():
        raise InputError(f'{target} is a folder; name a file')
    if target.exists() and not overwrite:
        raise InputError(f'{target} exists already; give --overwrite to replace it, or another name')
    state = state_dict_of(fetch_checkpoint(source), source)
    if prefix is not None:
        state = part_of(state, prefix, source)
    meta = dict(source=Path(source).name)
    if network is None:
        to = to or ('backbone' if _classes(state) is None else 'classifier')
        options = _options(state, source, depth)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # what a stock ResNet lacks is drawn; the same every time
            network = _built(to, state, source, **options)
        meta |= dict(network=to, options=json.dumps(options))
    left_out = _outside_backbone(state) if to == 'backbone' else {}
    kept = {name: value for name, value in state.items() if name not in left_out}
    report = load_weights(network, kept, source=source, strict=True)
    if check is not None:
        check(network)
    meta |= dict(layout=report.naming.layout, **(origin.as_meta() if origin else {}))
    target.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    with whole(target) as partial:
        if target.suffix == '.safetensors':
            texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in meta.items()}
            partial.write_bytes(save(weights, texts))
        else:
            partial.write_bytes(as_bytes(dict(state_dict=weights, meta=meta)))
        stored = state_dict_of(read_checkpoint(partial), target)
        if stored.keys() != weights.keys() or not all(torch.equal(stored[name], weights[name]) for name in weights):
            raise InputError(f'{target} does not read back as it was written; check the disk')
    return replace(report, naming=replace(report.naming, dropped={**report.naming.dropped, **left_out}))


def _classes(state: State) -> int | None:
    """Number of classes of the source's linear layer; None without one."""
    names = (name for name in state if re.sub(HEAD, r'fc.\1', name.removeprefix('backbone.')) == 'fc.weight')
    weight = state.get(next(names, ''))
    return None if weight is None or weight.dim() != 2 else len(weight)


def _options(state: State, source: str, depth: int | None) -> dict[str, Any]:
    """The arguments of the BiRealResNet that the source's names and shapes describe, but for defaults."""
    found = naming(state, (), source)
    names, trunk = found.names, trunk_of(found.names.values())
    if trunk is None:
        raise InputError(
            f'{source} has no ResNet names (layer1.0.* or layers.0.*) but {", ".join(list(state)[:4])}, ...; if they '
            'stand behind a prefix, give it as --prefix'
        )
    if depth is None:
        depth = trunk.depth
        if depth is None or len(trunk.blocks) != len(BLOCKS[depth]):
            raise InputError(f'{source} has {trunk}, which is no BiRealResNet; give its config as --config')
    shapes = {new: state[old].shape for old, new in names.items()}
    deep_stem = 'stem.0.weight' in shapes
    stem = shapes.get('stem.0.weight' if deep_stem else 'conv1.weight', (64, 3, 7, 7))
    width = shapes.get('stem.7.weight' if deep_stem else 'bn1.weight', (64,))[0]
    defaults = usual(depth)
    base = shapes.get('layer1.0.bn1.weight', (defaults['base_channels'],))[0]
    channels = stem[1] if len(stem) == 4 else 3
    told: dict[str, Any] = dict(in_channels=channels, base_channels=base, stem_channels=width, deep_stem=deep_stem)
    told['stem'] = 'cifar' if stem[-1] == 3 and not deep_stem else 'imagenet'
    if depth in CIFAR and found.layout == STOCK and not any('.downsample.' in name for name in shapes):
        told['transition'] = 'pad'
    defaults |= dict(in_channels=3, stem_channels=base, deep_stem=False, transition='conv')
    return dict(depth=depth, **{name: value for name, value in told.items() if value != defaults[name]})


def _built(to: Target, state: State, source: str, **options: Any) -> nn.Module:
    check_choice('convert_checkpoint', 'to', to, get_args(Target))
    if to == 'backbone':
        return BiRealResNet(**options)
    classes = _classes(state)
    if classes is None:
        raise InputError(f'{source} has no linear layer (fc.weight), which a {to} needs; give --to backbone')
    if to == 'classifier':
        return BiRealClassifier(BiRealResNet(**options), num_classes=classes)
    name, channels = f'bireal_resnet{options.pop("depth")}', options.pop('in_channels', 3)
    return timm.create_model(name, num_classes=classes, in_chans=channels, **options)


def _outside_backbone(state: State) -> dict[str, str]:
    """Names that are not of a backbone, with the reason: those without ``backbone.``, or a classifier's ``fc``."""
    has_prefix = any(name.startswith('backbone.') for name in state)
    outside = r'(?!backbone\.)' if has_prefix else rf'fc\.|{HEAD}'
    return {name: 'not of the backbone, which alone was asked for' for name in state if re.match(outside, name)}
