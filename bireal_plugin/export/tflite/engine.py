"""TFLite for Larq Compute Engine (ARM, Android), without TensorFlow: every binary convolution becomes a LceBconv2d."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from bireal_plugin.errors import InputError
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
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f'{type(model).__name__} cannot be traced with inputs of shape {shape}: {reason}') from error
    return translate(program)


def export_tflite(model: nn.Module, path: str | Path, example_shape: Sequence[int]) -> Path:
    """Write a folded network to ``path`` (.tflite); it takes ``(N, H, W, C)`` of the example's size, float32.

    Raises:
        InputError: wrong suffix or shape, a missing package, or an operator without a form in TFLite, by its name.
    """
    path = Path(path)
    if path.suffix != '.tflite':
        raise InputError(f'a TFLite model is written to a file .tflite, not {path}')
    packages()
    write_tflite(convert(model, example_shape), path)
    return path
