"""Tensors around the 1-bit layers of an OpenVINO model, read through a copy with further results.

A layer is known by its operators, not by names: the operator that takes a sign, and the convolution behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bireal_plugin.export.openvino import file
from bireal_plugin.export.openvino.engine import OpenVINOSession, core, openvino
from bireal_plugin.export.session_io import Choice, Tapped, tapped_copy


def tap_openvino(path: Path, choice: Choice, **options: Any) -> Tapped:
    """Run ``path`` and read the chosen tensors; see ``Engine.tap``."""
    return tapped_copy(path, choice, _write, OpenVINOSession, **options)


def _write(path: Path, target: Path, choice: Choice) -> int:
    ov = openvino()
    file.check(path)
    model = core().read_model(str(path))
    chosen = choice(list(_layers(model)))
    model.add_results([ov.opset13.result(value) for value in chosen])
    file.write(ov, model, target, {})
    return len(chosen)


def _layers(model: Any) -> Iterator[tuple[Any, Any]]:
    for node in model.get_ordered_ops():
        if not node.get_type_name().endswith('Convolution'):
            continue
        operand = node.input_value(0).get_node()
        if node.get_type_name() == 'BinaryConvolution':
            yield operand.input_value(0), node.output(0)
        elif operand.get_type_name() == 'Select' and operand.input_value(0).get_node().get_type_name() == 'Less':
            yield operand.input_value(0).get_node().input_value(0), node.output(0)
