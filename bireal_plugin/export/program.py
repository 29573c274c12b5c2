"""A network as engines take it: folded, in float32, and as the program that PyTorch's exporter traces."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.checkpoints.file import not_finite
from bireal_plugin.errors import InputError, first_line, listed
from bireal_plugin.folding.fold import fold, fold_
from bireal_plugin.folding.norm_pairs import shapes_of


def folded(model: nn.Module, example_shape: Sequence[Any] | None = None) -> nn.Module:
    """As ``fold``, in float32. A network with other numbers is folded in float64 and rounded once, with a warning.

    Raises:
        InputError: a weight is NaN or infinite, of which a sign would tell nothing.
    """
    check_weights(model)
    others = {tensor.dtype for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()}
    others -= {torch.float32}
    if not others:
        return fold(model, example_shape)
    names = ' and '.join(sorted(str(dtype).removeprefix('torch.') for dtype in others))
    warnings.warn(f'{type(model).__name__} has {names} numbers; it is exported in float32', stacklevel=3)
    return fold_(copy.deepcopy(model).double(), example_shape).float()


def check_weights(model: nn.Module) -> None:
    """Refuse a network of which every output would be NaN or infinite.

    Raises:
        InputError: a weight or another number of its state is.
    """
    if broken := not_finite(model.state_dict()):
        raise InputError(
            f'{listed(broken, 1)} of the {type(model).__name__} hold NaN or infinite '
            'numbers: take weights from before its training diverged'
        )


def traced(
    model: nn.Module, example_shape: Sequence[Any], *, open_axes: Mapping[int, Any] | None = None
) -> ExportedProgram:
    """A folded network in evaluation mode.

    Args:
        example_shape: ``(N, C, H, W)`` of the input, or of several, float32.
        open_axes: those of every input that stay open, as ``torch.export.export`` takes them; the batch is among them.

    Raises:
        InputError: the shape is none of an image batch, the network is not folded, or PyTorch cannot trace it.
    """
    shapes = shapes_of(example_shape)
    for name, module in model.named_modules():
        if isinstance(module, BinaryConv2d) and (module.binary_input or module.binary_weight):
            raise InputError(f'{name or "the network"} is a BinaryConv2d still; export the result of fold(model)')
    # A size of 1 would be taken for a constant.
    examples = [torch.zeros(shape if open_axes is None else (max(shape[0], 2), *shape[1:])) for shape in shapes]
    dynamic_shapes = None if open_axes is None else tuple(dict(open_axes) for _ in shapes)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)  # PyTorch's, about its own code
            # Not strict, which later versions are by default neither: PyTorch 2.6 traces no second stream otherwise.
            return torch.export.export(model.eval(), tuple(examples), dynamic_shapes=dynamic_shapes, strict=False)
    except (RuntimeError, TypeError) as error:
        given, reason = ' and '.join(map(str, shapes)), first_line(error)
        raise InputError(f'{type(model).__name__} cannot be traced with inputs of shape {given}: {reason}') from error


def calibration_batches(batches: Iterable[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """The images ``(images, C, H, W)`` of batches for int8 real layers.

    Raises:
        InputError: there is no batch, or one is not of ``shape``.
    """
    arrays = [np.asarray(batch, np.float32) for batch in batches]
    if not arrays:
        raise InputError('int8 real layers need calibration images, and there are none')
    wrong = next((array.shape for array in arrays if array.shape != tuple(shape)), None)
    if wrong is not None:
        raise InputError(f'a calibration batch has the shape {wrong}; the network was exported for {tuple(shape)}')
    return np.concatenate(arrays)
