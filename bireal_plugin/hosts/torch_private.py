"""Names of torch that begin with an underscore or live in a module that does."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode as FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._pytree import tree_leaves as tree_leaves
from torch.utils._pytree import tree_map_only as tree_map_only
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

BatchNorm = nn.modules.batchnorm._BatchNorm
NormWithStatistics = nn.modules.batchnorm._NormBase
Convolution = nn.modules.conv._ConvNd
TransposedConvolution = nn.modules.conv._ConvTransposeNd
Dropout = nn.modules.dropout._DropoutNd

HOOK_TABLES = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')
HOOK_OPTIONS = ('_forward_pre_hooks_with_kwargs', '_forward_hooks_with_kwargs', '_forward_hooks_always_called')


def tables(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """The tables of the parameters, buffers and children of ``module`` itself, to look into faster than by a walk."""
    return module._parameters, module._buffers, module._modules


def convolves_plainly(conv: nn.Module) -> bool:
    """Whether ``conv`` is an ``nn.Conv2d`` that computes what ``nn.Conv2d`` does, in a subclass too."""
    return (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and type(conv)._conv_forward is nn.Conv2d._conv_forward
    )


def move_hooks(source: nn.Module, target: nn.Module) -> None:
    """Let the forward and backward hooks of ``source``, and the handles that remove them, act on ``target``."""
    for name in (*HOOK_TABLES, *HOOK_OPTIONS, '_is_full_backward_hook'):
        setattr(target, name, getattr(source, name))


def hook_between(before: nn.Module, behind: nn.Module) -> bool:
    """Whether a hook is given what ``before`` returns or ``behind`` takes, and may give it back changed."""
    return bool(before._forward_hooks or behind._forward_pre_hooks)


def remove_forward_hooks(model: nn.Module) -> None:
    """Drop the forward hooks of ``model`` and of every module inside."""
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()


def end_workers(loader: Any, iterator: Any = None) -> None:
    """End the processes of a DataLoader that persist between epochs, and those of ``iterator``, another one of it.

    Where the garbage collector finds them, they do not hear that they should end, and torch waits 5 s for each. Loaders
    of other classes are left alone.
    """
    kept = loader._iterator if isinstance(loader, DataLoader) else None
    for running in (kept, iterator):
        if isinstance(running, _MultiProcessingDataLoaderIter):
            running._shutdown_workers()  # type: ignore[attr-defined]
    if kept is not None:
        loader._iterator = None
