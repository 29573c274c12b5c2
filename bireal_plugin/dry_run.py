"""A forward pass without arithmetic, for the modules called and the shapes they get; the model stays unchanged."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.hosts.torch_private import FakeTensorMode, remove_forward_hooks

Shape = tuple[int, int, int]


class Call(NamedTuple):
    """One call of a module in a dry run: its first argument and its output."""

    name: str
    module: nn.Module
    x: Any
    y: Any


def weightless_copy(model: nn.Module, mode: FakeTensorMode | None = None) -> nn.Module:
    """A copy of ``model`` whose tensors have shapes but no memory, in evaluation mode and without forward hooks."""
    memo: dict[int, Any] = {}
    with mode or FakeTensorMode():
        for tensor in (*model.parameters(), *model.buffers()):
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    twin = copy.deepcopy(model, memo)
    remove_forward_hooks(twin)
    twin.eval()  # returns None where a model overrides train() as mmdet's ResNet does
    return twin


def input_shape(model: nn.Module) -> Shape:
    """``(C, H, W)`` of a model's image: timm's ``default_cfg``, else the first convolution's channels and 224 x 224.

    The channels of timm's ``default_cfg`` are those of its weights; the model's own are its ``in_chans``.

    Raises:
        InputError: the model has neither.
    """
    config = getattr(model, 'default_cfg', None) or {}
    if 'input_size' in config:
        channels, *size = config['input_size']
        return getattr(model, 'in_chans', channels), *size
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels, 224, 224
    raise InputError(f'{type(model).__name__} has no convolution that tells its input; give shape=(channels, H, W)')


def dry_run(model: nn.Module, shape: Shape) -> list[Call]:
    """The calls of all modules, in the order they end, as a weightless copy runs on one image.

    Args:
        shape: ``(C, H, W)`` of the image; the batch is 1.
    """
    calls: list[Call] = []

    def hook(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append(Call(name, module, inputs[0] if inputs else None, output))

    # Tensors that are neither parameters nor buffers keep their memory, hence the permission to mix.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    copied = weightless_copy(model, mode)
    for name, module in copied.named_modules():
        module.register_forward_hook(partial(hook, name))
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    with torch.no_grad(), mode:
        copied(torch.empty(1, *shape, dtype=dtype))
    return calls
