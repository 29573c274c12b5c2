"""Finding the ResNet in a model: the blocks, the order they run in, and the activation that ends the stem.

Everything is checked on a dry run by following tensors from module to module, so no class or attribute of the host
needs to be known. An operation outside modules breaks the chain of tensors, which is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.dry_run import Call
from bireal_plugin.errors import InputError
from bireal_plugin.models.from_resnet.anatomy import BlockPlan, is_activation, is_passive, looks_like_block, plan_block
from bireal_plugin.models.stages import Block


class TrunkPlan(NamedTuple):
    """Blocks in the order they run, and the names of the stem's activations that are removed."""

    blocks: list[BlockPlan]
    stem_activations: list[str]


def find_host(model: nn.Module) -> str:
    """Name of the smallest module that holds all ResNet blocks of ``model`` and a stem ('' for the model itself).

    Raises:
        InputError: there are no blocks, or 1-bit convolutions already.
    """
    for name, module in model.named_modules():
        if isinstance(module, BinaryConv2d):
            raise InputError(
                f'{name!r} is a {type(module).__name__} already; set_activation() and set_weights() of '
                'bireal_plugin.binary switch a Bi-Real network between its stages'
            )
    return smallest_network(model)


def smallest_network(model: nn.Module) -> str:
    """As ``find_host``, of networks with 1-bit convolutions too."""
    blocks = [name for name, module in model.named_modules() if isinstance(module, Block) or looks_like_block(module)]
    if not blocks or '' in blocks:
        raise InputError(
            f'{type(model).__name__} holds no ResNet blocks (conv1, bn1, conv2, bn2, ...); '
            'binarize() takes ResNets, other networks are built from BinaryConv2d'
        )
    host = blocks[0].split('.')[:-1]
    while any(block.split('.')[: len(host)] != host for block in blocks):
        host = host[:-1]
    convs = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    while next((name for name in convs if name.split('.')[: len(host)] == host), '').startswith(f'{blocks[0]}.'):
        if not host:
            raise InputError(f'{type(model).__name__} has no stem in front of its first block {blocks[0]!r}')
        host = host[:-1]
    return '.'.join(host)


def plan_trunk(host: nn.Module, calls: Sequence[Call]) -> TrunkPlan:
    """Check that ``host`` is a ResNet, block by block, by the ``calls`` of its dry run.

    Raises:
        InputError: it is not; the sentence names the module that differs.
    """
    plans = {name: plan_block(name, module) for name, module in host.named_modules() if looks_like_block(module)}
    by_name: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_name[call.name].append(call)

    def only_call(name: str) -> Call:
        found = by_name[name]
        if len(found) != 1:
            raise InputError(f'{name!r} is called {len(found)} times in a forward pass, not once')
        return found[0]

    for name in plans:
        only_call(name)
    blocks = [call for call in calls if call.name in plans]
    for before, block in zip([None, *blocks[:-1]], blocks, strict=True):
        plan = plans[block.name]
        if before is not None and block.x is not before.y:
            raise InputError(
                f'{block.name!r} is not given what {before.name!r} returns; in a ResNet blocks run in a row'
            )
        if plan.is_bottleneck != plans[blocks[0].name].is_bottleneck:
            raise InputError(f'{block.name!r} has {len(plan.branches)} convolutions, unlike the blocks before it')
        _check_flow(block, plan, only_call, host)
    activations = _stem_activations(calls, blocks[0])
    for name in activations:
        only_call(name)
    return TrunkPlan([plans[block.name] for block in blocks], activations)


def _check_flow(block: Call, plan: BlockPlan, only_call: Any, host: nn.Module) -> None:
    """conv1 and the shortcut take the block's input, each branch runs in a row, and strides alone change sizes."""
    for conv_name, stride in zip(plan.convs, plan.strides, strict=True):
        conv = only_call(f'{block.name}.{conv_name}')
        sides = tuple(-(-side // stride) for side in conv.x.shape[2:])
        if tuple(conv.y.shape[2:]) != sides:
            raise InputError(
                f'{conv.name!r} turns {tuple(conv.x.shape[2:])} pixels into {tuple(conv.y.shape[2:])}: with its stride '
                f'of {stride} a shortcut around it gives {sides}'
            )
    if only_call(f'{block.name}.{plan.convs[0]}').x is not block.x:
        raise InputError(f'{block.name}.{plan.convs[0]} is not given the input of its block (a pre-activation ResNet?)')
    for branch in plan.branches:
        row = [only_call(f'{block.name}.{child}') for child in branch]
        for before, after in pairwise(row):
            if after.x is not before.y:
                raise InputError(f'{after.name!r} is not given what {before.name!r} returns')
    if plan.shortcut is None:
        return
    shortcut, last = only_call(f'{block.name}.{plan.shortcut}'), only_call(f'{block.name}.{plan.branches[-1][-1]}')
    if shortcut.x is not block.x:
        raise InputError(f'{shortcut.name} is not given the input of its block')
    if shortcut.y.shape != last.y.shape:
        raise InputError(f'{shortcut.name} gives {tuple(shortcut.y.shape)}, and {last.name} {tuple(last.y.shape)}')
    if plan.shortcut_conv is None and not _is_linear(host.get_submodule(shortcut.name), shortcut.x.shape):
        pool = f'nn.AvgPool2d({max(plan.strides)}), ' if max(plan.strides) > 1 else ''
        conv = f'nn.Conv2d({shortcut.x.shape[1]}, {last.y.shape[1]}, 1)'
        raise InputError(
            f'{shortcut.name!r} ({type(shortcut.module).__name__}) is not linear, as a shortcut around signs must be; '
            f'write it as nn.Sequential({pool}{conv}, nn.BatchNorm2d({last.y.shape[1]}))'
        )


def _is_linear(module: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a module without parameters is a linear map of ``shape``, tried on random numbers."""
    x, y = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), device='cpu')
    with torch.no_grad():
        return torch.allclose(module(x - 2 * y), module(x) - 2 * module(y), atol=1e-4)


def _stem_activations(calls: Sequence[Call], first: Call) -> list[str]:
    """Activations between the stem's last layer with weights and the first block, found by going back."""
    if not isinstance(first.x, Tensor):
        raise InputError(f'{first.name!r} is given a {type(first.x).__name__}, not a feature map')
    found: list[str] = []
    x = first.x
    for call in reversed(calls[: calls.index(first)]):
        leaf = not list(call.module.children())
        if not leaf or call.y is not x or call.name.startswith(f'{first.name}.'):
            continue
        if is_activation(call.module):
            found.append(call.name)
        elif not is_passive(call.module):
            if next(call.module.parameters(), None) is None and next(call.module.buffers(), None) is None:
                raise InputError(
                    f'{call.name!r} ({type(call.module).__name__}) stands between the stem and the first block; '
                    'binarize() cannot tell whether it is an activation, after which every sign would be +1'
                )
            return found
        x = call.x
    inside = f'{first.name}.'
    before = [call for call in calls[: calls.index(first)] if not call.name.startswith(inside)]
    last = next(call.name for call in reversed(before) if call.module.state_dict())
    raise InputError(
        f'what {first.name!r} is given is computed outside of modules, perhaps by F.relu, after which every sign would '
        f'be +1; in forward(), leave out what stands between {last!r} and {first.name!r}, or write it as nn.ReLU()'
    )
