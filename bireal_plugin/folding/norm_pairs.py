"""Pairs of convolution and BatchNorm, found by following tensors through a dry run of the model.

The order of definition would be wrong for pre-activation networks (``bn1, conv1, bn2, conv2``), for a convolution
shared by several norms, and wherever a shortcut starts or ends between convolution and norm.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.dry_run import input_shape, weightless_copy
from bireal_plugin.errors import InputError, first_line
from bireal_plugin.hosts.torch_private import BatchNorm, FakeTensorMode, TorchDispatchMode, hook_between, tree_leaves

# What somebody's model raises when it is built from or given something else than it takes.
REFUSALS = (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError)


def shapes_of(example_shape: Sequence[Any]) -> list[tuple[int, ...]]:
    """``(N, C, H, W)`` of every input of a network, from one such shape or several.

    Raises:
        InputError: one is none of a batch of images.
    """
    several = len(example_shape) > 0 and all(isinstance(shape, Sequence) for shape in example_shape)
    shapes = [tuple(map(int, shape)) for shape in (example_shape if several else [example_shape])]
    for shape in shapes:
        if len(shape) != 4 or min(shape) < 1:
            raise InputError(f'example_shape is (N, C, H, W), not {shape}; give (1, 3, 224, 224) or several of these')
    return shapes


def convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Every convolution with a folded form: 1-bit ones, and plain ``nn.Conv2d`` (a subclass may do more)."""
    for name, module in model.named_modules():
        if type(module) is nn.Conv2d or isinstance(module, BinaryConv2d):
            yield name, module


def norm_pairs(model: nn.Module, example_shape: Sequence[Any] | None = None) -> dict[str, str]:
    """Names of convolutions, each with the name of the one BatchNorm that uses its output, and uses nothing else.

    A copy without memory runs once, in evaluation mode. Modules that it does not call are in no pair.

    Args:
        example_shape: ``(N, C, H, W)`` of an input, or of several; by default that of ``input_shape``.

    Raises:
        InputError: the model does not run on one such tensor, so that its data flow is unknown.
    """
    shapes = shapes_of((1, *input_shape(model)) if example_shape is None else example_shape)
    # BatchNorms with running statistics and no more; timm's BatchNormAct2d has an activation too.
    plain = (BatchNorm.forward, nn.SyncBatchNorm.forward)
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm) and type(module).forward in plain
        if module.running_mean is not None and module.running_var is not None
    }
    convs = dict(convolutions(model))
    if not convs or not norms:
        return {}
    flow = _followed(model, shapes, convs, norms)
    pairs = {}
    for conv, readers in flow.readers.items():
        norm = next(iter(readers)) if len(readers) == 1 else None
        if norm is not None and hook_between(convs[conv], norms[norm]):
            continue
        if norm is not None and flow.sources[norm] == {conv} and norms[norm].num_features == convs[conv].out_channels:
            pairs[conv] = norm
    return pairs


class _Flow(TorchDispatchMode):
    """Readers of the outputs of convolutions: names of BatchNorms, and None for any other operation."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[int, tuple[Tensor, str]] = {}  # the tensors are kept, so that no id is used twice
        self.running: str | None = None
        self.readers: dict[str, set[str | None]] = defaultdict(set)
        self.sources: dict[str, set[str | None]] = defaultdict(set)

    def read(self, values: Any) -> None:
        """Record that every convolution's output among ``values`` was read."""
        for value in tree_leaves(values):
            if id(value) in self.outputs:
                self.readers[self.outputs[id(value)][1]].add(self.running)

    def leave_convolution(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """Forward hook of the convolution ``name``."""
        self.outputs[id(output)] = output, name

    def enter_norm(self, name: str, module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Forward pre-hook of the BatchNorm ``name``."""
        given = [self.outputs[id(x)][1] for x in (*inputs, *keywords.values()) if id(x) in self.outputs]
        self.sources[name].add(given[0] if given else None)
        self.running = name

    def leave_norm(self, *_: Any) -> None:
        """Forward hook of a BatchNorm."""
        self.running = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace != 'prim':  # prim.device and its like read no values
            self.read((args, kwargs))
        return func(*args, **(kwargs or {}))


def _followed(
    model: nn.Module, shapes: list[tuple[int, ...]], convs: dict[str, nn.Conv2d], norms: dict[str, BatchNorm]
) -> _Flow:
    shapes = [(1, *shape[1:]) for shape in shapes]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    twin = weightless_copy(model, mode)
    flow = _Flow()
    for name, module in twin.named_modules():
        if name in convs:
            module.register_forward_hook(partial(flow.leave_convolution, name))
        elif name in norms:
            module.register_forward_pre_hook(partial(flow.enter_norm, name), with_kwargs=True)
            module.register_forward_hook(flow.leave_norm)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    with torch.no_grad(), mode, flow:
        images = [torch.empty(shape, dtype=dtype) for shape in shapes]
        try:
            outputs = twin(*images, **_other_arguments(twin, len(images)))
        except REFUSALS as error:
            given = ' and '.join(map(str, shapes))
            raise InputError(
                f'{type(model).__name__} does not run on an input of shape {given}, so it cannot be seen which '
                f'BatchNorm follows which convolution: {first_line(error)}; give example_shape=(N, C, H, W), a list of '
                "them for several inputs, or the model's backbone instead of the model"
            ) from error
        flow.read(outputs)
    return flow


def _other_arguments(model: nn.Module, images: int) -> dict[str, Any]:
    """Arguments of ``forward`` behind the images without a default: mmengine's ``mode`` is 'tensor', others are None.

    In that mode a model of mmengine computes its output and looks at no label.
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    others = list(inspect.signature(model.forward).parameters.values())[images:]
    needed = [other.name for other in others if other.kind in named and other.default is other.empty]
    return {name: 'tensor' if name == 'mode' else None for name in needed}
