"""Layouts of the checkpoints that users bring: recognised by their names, which are translated into this package's.

Names only: shapes, copying and the report are in ``loading.py``.

========================= ============================================= ==========================================
layout                    its names                                     ours
========================= ============================================= ==========================================
published Bi-Real 18/34   ``layer{L}.{i}.binary_conv.weights`` (N, 1)   ``layer{L}.{i}.conv1.weight``, viewed OIHW
                          or ``binary_conv{k}.weight``, ``bias``        ``conv{k}.weight``, as it is
published Bi-Real 50      ``layers.{0..15}.*``, ``down_conv1x1``        ``layer{L}.{i}.*``, ``narrow_shortcut``
stock ResNet              ``layer{L}.{i}.conv2`` of a basic block       ``layer{L}.{2i+1}.conv1``
(torchvision, timm, mm,   ``downsample.{0,1}``, ``gn{k}``               ``downsample.{1,2}``, ``bn{k}``
CIFAR's)                  ``shortcut.{0,1}``                            ``downsample.{1,2}``
\\                         ``conv1.{0..6}``, ``bn1`` (timm's deep stem)  ``stem.{0..6}``, ``stem.7``
========================= ============================================= ==========================================
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from bireal_plugin.errors import InputError

PUBLISHED_BASIC = 'published Bi-Real 18/34'
PUBLISHED_BOTTLENECK = 'published Bi-Real 50'
STOCK = 'stock ResNet'
OWN = "the model's own"

Rule = tuple[str, str | Callable[[re.Match[str]], str]]  # pattern and replacement, of a name without 'backbone.'

# Numbers of blocks of BiRealResNet; basic depths count one convolution per block, hence twice ResNet's numbers.
BASIC = {18: (4, 4, 4, 4), 34: (6, 8, 12, 6)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CIFAR = {20: (6, 6, 6), 32: (10, 10, 10), 56: (18, 18, 18)}  # basic too
BLOCKS = {**BASIC, **BOTTLENECK, **CIFAR}
BINARY_CONV = r'\.binary_conv(\d?)\.(weight|bias)s?$'
# The shifts and PReLUs that a Bi-Real block has not.
REACTNET = r'(^|\.)((move|bias)\d*\.bias|(move|bias)\d+|\w*prelu\w*\.weight)$'
HEAD = r'^(?:head\.fc|cls_head\.fc|linear|classifier|head|last_linear|logits)\.(weight|bias)$'
NO_NARROW_STREAM = 'no narrow stream in a stock bottleneck; these keep their initial values and must be trained'
NO_COUNTER = 'PyTorch before 0.4.1 did not count batches; nothing reads the count'
TAKEN_IN = 'taken into the running means of the norms behind, which computes the same'
COUNTERS = dict.fromkeys(('n_averaged', 'steps'), 'counts the averaged weights, of which it is none')
UNUSED_SHORTCUT = 'stored by the published code and never used: the first block adds no narrow stream'


@dataclass(frozen=True)
class Naming:
    """Names of the tensors of a file, and their names in a model.

    Attributes:
        layout: the code base whose names the file has.
        names: the file's name -> the model's.
        dropped: the file's name -> why there is no place for it in any Bi-Real network.
        absent: the model's name -> why no file of this layout has it.
    """

    layout: str
    names: dict[str, str]
    dropped: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def naming(names: Collection[str], model_names: Collection[str], source: str) -> Naming:
    """Recognise the layout of ``names`` and translate them.

    A rule is used only where the model lacks the foreign name: weights that have the model's names already, and those
    of a model that is no Bi-Real network, keep them. ``backbone.`` is put in front or taken away as the model has it.
    Without ``model_names`` the result is in the names of a bare ``BiRealResNet``.

    Raises:
        InputError: the names are those of a ReActNet-style network, or two of them mean the same tensor.
    """
    inner = [name.removeprefix('backbone.') for name in names]
    reactnet = [name for name in inner if re.search(REACTNET, name)]
    if reactnet and not _has(REACTNET, model_names):
        raise InputError(
            f'{source}: {reactnet[0]} is a name of ReActNet-style networks, whose blocks add learned biases and PReLU '
            'that a Bi-Real block has not; these weights belong to another network '
            '(BiRealResNet(rsign=True, rprelu=True) trains the like from the start)'
        )
    layout, rules, dropped = _recognise(inner, model_names)
    dropped |= {name: why for name, why in COUNTERS.items() if name not in model_names}
    if 'fc.weight' in model_names and not _has(HEAD, model_names) and 'fc.weight' not in names:
        rules = [*rules, (HEAD, r'fc.\1')]
    wants_prefix = any(name.startswith('backbone.') for name in model_names)
    has_prefix = any(name.startswith('backbone.') for name in names)

    renamed: dict[str, str] = {}
    for name in names:
        bare = name.removeprefix('backbone.')
        if bare in dropped:
            continue
        new = bare
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if wants_prefix and (name != bare or (not has_prefix and not new.startswith('fc.'))):
            new = f'backbone.{new}'
        renamed[name] = new
    first: dict[str, str] = {}
    for name, new in renamed.items():
        if first.setdefault(new, name) != name:
            raise InputError(f'{source}: {first[new]} and {name} would both become {new}; remove one of them')

    absent = {name: NO_COUNTER for name in model_names if name.endswith('.num_batches_tracked')}
    if _has(r'layer1\.0\.conv3\.', inner) and not _has('narrow_shortcut', inner):
        narrow = {name: NO_NARROW_STREAM for name in model_names if 'narrow_shortcut' in name}
        layout = STOCK if narrow else layout
        absent |= narrow
    absent = {name: reason for name, reason in absent.items() if name not in first}
    return Naming(layout, renamed, {name: why for name, why in dropped.items() if name in names}, absent)


def _recognise(names: Collection[str], model_names: Collection[str]) -> tuple[str, list[Rule], dict[str, str]]:
    """The layout, its rules and what is dropped."""

    def foreign(pattern: str) -> bool:
        return _has(pattern, names) and not _has(pattern, model_names)

    if foreign(BINARY_CONV):
        first: Rule = (BINARY_CONV, lambda m: f'.conv{m[1] or 1}.{m[2]}')
        _, others, _ = _recognise([re.sub(*first, name) for name in names], model_names)
        return PUBLISHED_BASIC, [first, *others], {}
    if foreign(r'^layers\.\d+\.conv1\.weight$'):
        return PUBLISHED_BOTTLENECK, _published_bottleneck(names), {'layers.0.down_conv1x1.weight': UNUSED_SHORTCUT}
    rules: list[Rule] = []
    if foreign(r'layer\d\.\d+\.gn\d\.'):
        rules.append((r'(^|\.)gn(\d)\.', r'\1bn\2.'))
    if foreign(r'^conv1\.0\.weight$'):
        rules += [(r'^conv1\.(\d)\.', r'stem.\1.'), (r'^bn1\.', 'stem.7.')]
    if foreign(r'layer1\.\d+\.conv2\.') and not _has(r'layer1\.\d+\.conv3\.', names):
        rules += [
            (r'^(layer\d)\.(\d+)\.(conv|bn)([12])\.', lambda m: f'{m[1]}.{2 * int(m[2]) + int(m[4]) - 1}.{m[3]}1.'),
            (r'^(layer\d)\.(\d+)\.(downsample|shortcut)', lambda m: f'{m[1]}.{2 * int(m[2])}.{m[3]}'),
        ]
    # In a stock shortcut the convolution is entry 0 (entry 0 is the average pool, without weights, in ours and in -D).
    if foreign(r'layer\d\.\d+\.(downsample|shortcut)\.0\.weight$'):
        shortcut = r'^(layer\d\.\d+)\.(?:downsample|shortcut)\.([01])\.'
        rules += [(shortcut, lambda m: f'{m[1]}.downsample.{int(m[2]) + 1}.')]
    return (STOCK if rules else OWN), rules, {}


def _published_bottleneck(names: Iterable[str]) -> list[Rule]:
    """The published 50 counts blocks through; the blocks with a shortcut of their own start a stage."""
    matches = (re.match(r'layers\.(\d+)\.down', name) for name in names)
    starts = sorted({int(match[1]) for match in matches if match})

    def block(match: re.Match[str]) -> str:
        index = int(match[1])
        stage = bisect_right(starts, index)
        return f'layer{stage}.{index - starts[stage - 1]}.' if stage else match[0]

    return [(r'^layers\.(\d+)\.', block), (r'\.down_conv1x1\.', '.narrow_shortcut.')]


@dataclass(frozen=True)
class Trunk:
    """Blocks per stage, and 1-bit (or real) convolutions per block, as a ResNet's names tell them."""

    blocks: tuple[int, ...]
    convolutions: int

    @property
    def depth(self) -> int | None:
        """The depth of the one BiRealResNet that has these stages, or has them first; None where there is none."""
        count = len(self.blocks)
        ours = tuple(blocks * (2 if self.convolutions == 2 else 1) for blocks in self.blocks)
        depths = [depth for depth, blocks in BLOCKS.items() if blocks[:count] == ours]
        depths = [depth for depth in depths if (depth in BOTTLENECK) == (self.convolutions == 3)]
        return depths[0] if len(depths) == 1 else None

    def __str__(self) -> str:
        plural = 's' if self.convolutions > 1 else ''
        blocks = '-'.join(map(str, self.blocks))
        layers = sum(self.blocks) * self.convolutions + 2  # with the stem and the classifier, as ResNets are called
        return f'{layers} layers ({blocks} blocks of {self.convolutions} convolution{plural})'


def trunk_of(names: Iterable[str]) -> Trunk | None:
    """The trunk that translated ``names`` belong to; None if they belong to no ResNet."""
    matches = [re.match(r'(?:backbone\.)?layer(\d)\.(\d+)\.(?:conv(\d)\.weight)?', name) for name in names]
    found = [(int(match[1]), int(match[2]), int(match[3] or 1)) for match in matches if match]
    stages = range(1, max((stage for stage, _, _ in found), default=0) + 1)
    blocks = tuple(max((block + 1 for at, block, _ in found if at == stage), default=0) for stage in stages)
    return Trunk(blocks, max(convolution for _, _, convolution in found)) if found else None


def check_depth(names: Iterable[str], model_names: Iterable[str], source: str) -> None:
    """Compare two trunks, in the stages that both have.

    Raises:
        InputError: they differ in depth.
    """
    theirs, ours = trunk_of(names), trunk_of(model_names)
    if theirs is None or ours is None:
        return
    common = min(len(theirs.blocks), len(ours.blocks))
    if theirs.blocks[:common] != ours.blocks[:common] or theirs.convolutions != ours.convolutions:
        ways = [f'build the model with depth={theirs.depth}'] if theirs.depth else []
        ways += [f'bring weights of depth {ours.depth}'] if ours.depth else []
        raise InputError(
            f'{source} has {theirs} and the model {ours}: these weights belong to another network'
            + ('; ' if ways else '')
            + ', or '.join(ways)
        )


def mean_behind(bias: str) -> str:
    """Name of the running mean of the BatchNorm behind the convolution whose bias is called ``bias``; '' if it is none.

    BatchNorm(x + bias) with a running mean is BatchNorm(x) with that mean less the bias.
    """
    new = re.sub(r'(^|\.)conv(\d)\.bias$', r'\1bn\2.running_mean', bias)
    new = re.sub(r'\bdownsample\.1\.bias$', 'downsample.2.running_mean', new)
    new = re.sub(r'\bstem\.(\d)\.bias$', lambda match: f'stem.{int(match[1]) + 1}.running_mean', new)
    return new if new != bias else ''


def _has(pattern: str, names: Iterable[str]) -> bool:
    return any(re.search(pattern, name) for name in names)
