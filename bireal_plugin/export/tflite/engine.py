"""TFLite for Larq Compute Engine (ARM, Android), without TensorFlow: every binary convolution becomes a LceBconv2d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import first_line
from bireal_plugin.export.tflite.file import write_tflite
from bireal_plugin.export.tflite.flatbuffer import packages
from bireal_plugin.export.tflite.graph import Graph
from bireal_plugin.export.tflite.larq_interpreter import TFLiteSession
from bireal_plugin.export.tflite.translation import translate

__all__ = ['TFLiteSession', 'convert', 'export_tflite']


def convert(model: nn.Module, example_shape: Sequence[int]) -> Graph:
    """A folded network as a TFLite graph for inputs of exactly ``example_shape`` ``(N, C, H, W)``."""
    shape = tuple(example_shape)
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(f'the shape of an example is (N, C, H, W), not {shape}')
    try:
        with torch.no_grad():
            program = torch.export.export(model.eval(), (torch.zeros(shape),)).run_decompositions({})
    except RuntimeError as error:
        raise InputError(
            f'{type(model).__name__} cannot be traced with inputs of shape {shape}: {first_line(error)}'
        ) from error
    return translate(program)


def export_tflite(
    model: nn.Module, path: Path, example_shape: Sequence[int], *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a folded network to ``path`` (.tflite); it takes ``(N, H, W, C)`` of the example's size, float32.

    Args:
        metadata: texts to keep in the file.

    Raises:
        InputError: wrong shape, a missing package, or an operator without a form in TFLite, by its name.
    """
    packages()
    write_tflite(convert(model, example_shape), path, metadata)
    return path
