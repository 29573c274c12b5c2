"""Parts of a residual block, read from the names and types of its children; nothing is run here.

torchvision, timm, mmdet and mmpretrain agree on ``conv1, bn1, conv2, bn2[, conv3, bn3], downsample``.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn
from torch.nn.modules import activation as torch_activations

from bireal_plugin.errors import InputError
from bireal_plugin.hosts.torch_private import Dropout, convolves_plainly

SHORTCUT_NAMES = ('downsample', 'shortcut', 'skip', 'residual', 'identity', 'projection')
# Behind the last normalisation, before the addition.
ATTENTION_NAMES = ('se', 'se_layer', 'se_module')
ACTIVATIONS = tuple(getattr(torch_activations, name) for name in torch_activations.__all__ if name[-9:] != 'Attention')


class BlockPlan(NamedTuple):
    """Plan for one block.

    Args:
        name: of the block in the network.
        branches: per convolution the children that run in a row: convolution, normalisation and what stays behind it.
        strides: per convolution.
        shortcut: name of the child over the block, or None for the identity.
        shortcut_conv: name of the 1x1 convolution in the block; None in a shortcut without parameters, which stays.
        pool: stride that an average pool takes over from that convolution (1: none).
    """

    name: str
    branches: tuple[tuple[str, ...], ...]
    strides: tuple[int, ...]
    shortcut: str | None
    shortcut_conv: str | None
    pool: int

    @property
    def convs(self) -> tuple[str, ...]:
        """Names of the block's convolutions."""
        return tuple(branch[0] for branch in self.branches)

    @property
    def is_bottleneck(self) -> bool:
        """Three convolutions, hence two streams."""
        return len(self.branches) == 3


def looks_like_block(module: nn.Module) -> bool:
    """True for a module with at least two convolutions under the names of a ResNet's block."""
    children = {name for name, _ in module.named_children()}
    return 'conv1' in children and bool(children & {'conv2', 'conv3', 'convs'})


def is_activation(module: nn.Module) -> bool:
    """True for an activation of torch, timm or OpenMMLab."""
    return isinstance(module, ACTIVATIONS) or 'activation' in type(module).__module__.rpartition('.')[2]


def is_passive(module: nn.Module) -> bool:
    """True for a pool, dropout or identity, which keep signs as they are."""
    return isinstance(module, (nn.Identity, Dropout)) or 'Pool' in type(module).__name__


def plan_block(name: str, block: nn.Module) -> BlockPlan:
    """The plan of the block called ``name``.

    Raises:
        InputError: it is another block than ResNet's; the sentence names the child that differs.
    """
    children = dict(block.named_children())
    count = 3 if 'conv3' in children else 2
    branches: list[tuple[str, ...]] = []
    for k in range(1, count + 1):
        if f'conv{k}' not in children:
            raise InputError(f'{name!r} has no conv{k}: it is not a ResNet block of two or three convolutions')
        conv = children[f'conv{k}']
        if not convolves_plainly(conv):
            kind = type(conv).__name__
            raise InputError(f"'{name}.conv{k}' is a {kind}, not a plain Conv2d, and has no 1-bit form here")
        if conv.padding_mode != 'zeros':
            mode = conv.padding_mode
            raise InputError(f"'{name}.conv{k}' has padding_mode={mode!r}; 1-bit convolutions pad with true zeros")
        branches.append((f'conv{k}', _norm_name(name, block, k)))
    branches[-1] += tuple(child for child in (*ATTENTION_NAMES, 'drop_path') if _acts(children.get(child)))
    if _acts(children.get('drop_block')):
        branches[count - 2] += ('drop_block',)
    kept = {child for branch in branches for child in branch}
    unknown = (child for child, module in children.items() if child not in kept and _holds_1x1(module))
    shortcut = next((child for child in SHORTCUT_NAMES if child in children), next(unknown, None))
    for child, module in children.items():
        if child not in kept | {shortcut}:
            _check_superfluous(f'{name}.{child}', child, module)

    convs = [children[f'conv{k}'] for k in range(1, count + 1)]
    if shortcut is not None and not _acts(children[shortcut]):
        shortcut = None
    shortcut_conv, pool = None, 1
    if shortcut is not None and children[shortcut].state_dict():
        inner, pool = _plan_shortcut(f'{name}.{shortcut}', children[shortcut])
        shortcut_conv = f'{shortcut}.{inner}' if inner else shortcut
    strides = tuple(_stride(f'{name}.conv{k}', conv) for k, conv in enumerate(convs, 1))
    _check_widths(name, convs, strides, shortcut)
    return BlockPlan(name, tuple(branches), strides, shortcut, shortcut_conv, pool)


def _acts(module: nn.Module | None) -> bool:
    empty = isinstance(module, nn.Identity) or (isinstance(module, nn.Sequential) and not len(module))
    return module is not None and not empty


def _holds_1x1(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and any(getattr(child, 'kernel_size', 0) == (1, 1) for child in module)


def _norm_name(name: str, block: nn.Module, k: int) -> str:
    """``bn{k}``, or the child behind OpenMMLab's property ``norm{k}``."""
    norm = getattr(block, f'bn{k}', None) or getattr(block, f'norm{k}', None)
    child = next((child for child, module in block.named_children() if module is norm), None)
    if norm is None or child is None or isinstance(norm, nn.Identity):
        raise InputError(
            f'{name!r} has no normalisation bn{k} behind conv{k}, without which 1-bit networks do not train'
        )
    if list(norm.children()):
        raise InputError(f'{name}.{child} is a {type(norm).__name__} of several layers, not a plain normalisation')
    return child


def _check_superfluous(full_name: str, child: str, module: nn.Module) -> None:
    """Refuse children that would be lost, other than activations."""
    if is_activation(module) and next(module.parameters(), None) is None:
        return
    if not _acts(module) or child in (*ATTENTION_NAMES, 'drop_path', 'drop_block'):
        return
    kind = type(module).__name__
    if is_activation(module):
        raise InputError(f'{full_name!r} is a {kind} with parameters, which has no place where signs are taken')
    if child == 'aa':
        raise InputError(f'{full_name!r} ({kind}) lowers the resolution between a convolution and its shortcut')
    raise InputError(f'{full_name!r} ({kind}) is not part of a ResNet block; binarize() cannot tell where it belongs')


def _plan_shortcut(name: str, shortcut: nn.Module) -> tuple[str, int]:
    """Name (within the shortcut, '' for itself) and stride of its one 1x1 convolution."""
    convs = []
    for child, module in [('', shortcut)] if isinstance(shortcut, nn.Conv2d) else shortcut.named_children():
        full_name = f'{name}.{child}' if child else name
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            convs.append((child, _stride(full_name, module)))
        elif isinstance(module, nn.Conv2d) or is_activation(module) or list(module.children()):
            what = repr(module) if isinstance(module, nn.Conv2d) else type(module).__name__
            raise InputError(f'{full_name} is {what}; a stage transition is [pool,] 1x1 convolution [, norm]')
    if len(convs) != 1 or not isinstance(shortcut, (nn.Sequential, nn.Conv2d)):
        raise InputError(
            f'{name!r} is a {type(shortcut).__name__} with {len(convs)} 1x1 convolutions, not one in a row'
        )
    return convs[0]


def _stride(name: str, conv: nn.Module) -> int:
    rows, columns = conv.stride  # type: ignore[misc]
    if rows != columns:
        raise InputError(f'{name!r} has stride {conv.stride}; binarize() needs the same for rows and columns')
    return rows


def _check_widths(name: str, convs: list[nn.Module], strides: tuple[int, ...], shortcut: str | None) -> None:
    """Every shortcut must be an identity or an average pool, except the one over the block."""
    narrow, last = int(convs[0].out_channels), convs[-1]  # type: ignore[arg-type]
    if convs[1].out_channels != narrow:
        raise InputError(
            f'{name}.conv2 turns {narrow} channels into {convs[1].out_channels}: no shortcut fits around it'
        )
    if strides[-1] != 1:
        raise InputError(f'{name}.conv{len(convs)} has stride {strides[-1]}; only earlier convolutions may have one')
    if shortcut is None and (convs[0].in_channels != last.out_channels or max(strides) > 1):
        raise InputError(
            f'{name!r} changes its shape, but has no downsample; if forward() computes the shortcut, make it a module, '
            'a child of the block called downsample'
        )
