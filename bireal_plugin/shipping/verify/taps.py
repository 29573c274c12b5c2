"""Reads the tensors around every 1-bit layer out of an artefact: the same file with these tensors as further outputs.

A layer is known by its operators, not by names: whatever an engine takes the sign of, and the convolution behind it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bireal_plugin.export.engines import Session
from bireal_plugin.export.packed.engine import PackedSession
from bireal_plugin.export.tflite.file import tap_tflite
from bireal_plugin.folding.fold import FoldedBinaryConv2d

# Outputs of the network, and the tensors that were asked for.
Tapped = Callable[[np.ndarray], tuple[list[np.ndarray], list[np.ndarray]]]
# From the (input of the sign, output of the convolution) of every 1-bit layer to the tensors to read.
Choice = Callable[[Sequence[tuple[Any, Any]]], list[Any]]
Writer = Callable[[Path, Path, Choice], int]


def both_sides(pairs: Sequence[tuple[Any, Any]]) -> list[Any]:
    """All inputs and outputs: x0, y0, x1, y1, ..."""
    return [value for pair in pairs for value in pair]


def inputs_apart(pairs: Sequence[tuple[Any, Any]], *, start: int, step: int) -> list[Any]:
    """The inputs of layers ``start``, ``start + step``, ...; what lies between stays as the engine fuses it."""
    return [x for x, _ in pairs[start::step]]


def tapped_session(path: str | Path, choice: Choice = both_sides, **options: Any) -> Tapped:
    """A session of ``path`` that returns its outputs and the chosen tensors.

    Args:
        options: of the engine's session.
    """
    path = Path(path)
    if path.suffix == '.safetensors':
        return _packed(path, choice, **options)
    with tempfile.TemporaryDirectory(prefix='bireal_') as folder:
        target = Path(folder, path.name)
        count = WRITERS[path.suffix](path, target, choice)
        session = Session(target, **options)

    def run(batch: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        results = session(batch)
        split = len(results) - count
        return results[:split], results[split:]

    return run


def _packed(path: Path, choice: Choice, **options: Any) -> Tapped:
    session = PackedSession(path, **options)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for module in session.model.modules():
        if isinstance(module, FoldedBinaryConv2d):
            module.register_forward_hook(lambda _, given, output: pairs.append((given[0].numpy(), output.numpy())))

    def run(batch: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        pairs.clear()
        return session(batch), choice(pairs)

    return run


def tap_openvino(path: Path, target: Path, choice: Choice) -> int:
    """Write the model at ``path`` to ``target`` with a result for every chosen tensor; their number."""
    from bireal_plugin.export.openvino import file as openvino_file
    from bireal_plugin.export.openvino.engine import openvino

    openvino_file.check(path)
    ov = openvino()
    model = ov.Core().read_model(str(path))
    chosen = choice(list(_openvino_layers(model)))
    model.add_results([ov.opset13.result(value) for value in chosen])
    openvino_file.write(ov, model, target, {})
    return len(chosen)


def _openvino_layers(model: Any) -> Iterator[tuple[Any, Any]]:
    for node in model.get_ordered_ops():
        if not node.get_type_name().endswith('Convolution'):
            continue
        operand = node.input_value(0).get_node()
        if node.get_type_name() == 'BinaryConvolution':
            yield operand.input_value(0), node.output(0)
        elif operand.get_type_name() == 'Select' and operand.input_value(0).get_node().get_type_name() == 'Less':
            yield operand.input_value(0).get_node().input_value(0), node.output(0)


def tap_onnx(path: Path, target: Path, choice: Choice, *, file_format: str) -> int:
    """As ``tap_openvino``, for an ONNX or a QONNX file."""
    from bireal_plugin.export.onnx.file import read_model, write_model
    from bireal_plugin.export.optional_package import require

    require('onnx', engine='onnx')
    import onnx
    from onnx import helper

    model = onnx.load_from_string(read_model(path, file_format=file_format))
    chosen = choice(list(_onnx_layers(model.graph)))
    types = {value.name: value.type for value in (*model.graph.value_info, *model.graph.output)}
    for i, value in enumerate(chosen):
        # A name of its own for each: one tensor may be read by several layers, or be an output already.
        model.graph.node.append(helper.make_node('Identity', [value], [f'tap/{i}']))
        unknown = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
        model.graph.output.append(helper.make_value_info(f'tap/{i}', types.get(value, unknown)))
    del model.metadata_props[:]
    write_model(model, target, file_format=file_format)
    return len(chosen)


def _onnx_layers(graph: Any) -> Iterator[tuple[str, str]]:
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        operand = made_by.get(node.input[0]) if node.op_type == 'Conv' else None
        if operand is None:
            continue
        if operand.op_type == 'BipolarQuant':
            yield operand.input[0], node.output[0]
        elif operand.op_type == 'Where' and made_by[operand.input[0]].op_type == 'Less':
            yield made_by[operand.input[0]].input[0], node.output[0]


WRITERS: dict[str, Writer] = {
    '.xml': tap_openvino,
    '.onnx': partial(tap_onnx, file_format='bireal-onnx-1'),
    '.qonnx': partial(tap_onnx, file_format='bireal-qonnx-1'),
    '.tflite': tap_tflite,
}
