"""Names of torch that begin with an underscore or live in a module that does."""

from __future__ import annotations

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.batchnorm import _NormBase as NormWithStatistics
from torch.nn.modules.conv import _ConvNd as Convolution
from torch.nn.modules.conv import _ConvTransposeNd as TransposedConvolution
from torch.nn.modules.dropout import _DropoutNd as Dropout
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ['BatchNorm', 'Convolution', 'Dropout', 'FakeTensorMode', 'NormWithStatistics', 'TorchDispatchMode']
__all__ += ['TransposedConvolution', 'convolves_plainly', 'move_hooks', 'remove_forward_hooks', 'tree_leaves']

HOOK_TABLES = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')
HOOK_OPTIONS = ('_forward_pre_hooks_with_kwargs', '_forward_hooks_with_kwargs', '_forward_hooks_always_called')


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


def remove_forward_hooks(model: nn.Module) -> None:
    """Drop the forward hooks of ``model`` and of every module inside."""
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
