"""Tensors around the 1-bit layers of an ONNX or QONNX file, read through a copy with further outputs.

A layer is known by its operators, not by names: the operator that takes a sign, and the convolution behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bireal_plugin.export.onnx import engine, qonnx
from bireal_plugin.export.onnx.file import read_model, write_model
from bireal_plugin.export.optional_package import require
from bireal_plugin.export.session_io import Choice, Tapped, tapped_copy


def tap_onnx(path: Path, choice: Choice, **options: Any) -> Tapped:
    """Run ``path`` and read the chosen tensors; see ``Engine.tap``."""
    return tapped_copy(path, choice, partial(_write, file_format=engine.FORMAT), engine.ONNXSession, **options)


def tap_qonnx(path: Path, choice: Choice, **options: Any) -> Tapped:
    """As ``tap_onnx``, for a QONNX file."""
    return tapped_copy(path, choice, partial(_write, file_format=qonnx.FORMAT), qonnx.QONNXSession, **options)


def _write(path: Path, target: Path, choice: Choice, *, file_format: str) -> int:
    require('onnx', engine='onnx')
    import onnx
    from onnx import helper

    model = onnx.load_from_string(read_model(path, file_format=file_format))
    chosen = choice(list(_layers(model.graph)))
    types = {value.name: value.type for value in (*model.graph.value_info, *model.graph.output)}
    for i, value in enumerate(chosen):
        # A name of its own for each: one tensor may be read by several layers, or be an output already.
        model.graph.node.append(helper.make_node('Identity', [value], [f'tap/{i}']))
        unknown = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
        model.graph.output.append(helper.make_value_info(f'tap/{i}', types.get(value, unknown)))
    del model.metadata_props[:]
    write_model(model, target, file_format=file_format)
    return len(chosen)


def _layers(graph: Any) -> Iterator[tuple[str, str]]:
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        operand = made_by.get(node.input[0]) if node.op_type == 'Conv' else None
        if operand is None:
            continue
        if operand.op_type == 'BipolarQuant':
            yield operand.input[0], node.output[0]
        elif operand.op_type == 'Where' and made_by[operand.input[0]].op_type == 'Less':
            yield made_by[operand.input[0]].input[0], node.output[0]
