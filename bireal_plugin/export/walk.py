"""The walk over an exported program, shared by engines that are written node by node from a table of operators.

Nodes that depend on no input (a parameter viewed as ``(C, 1, 1)``) are computed here and become constants.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from bireal_plugin.errors import InputError
from bireal_plugin.export.nodes import LayerWriter

aten = torch.ops.aten

# What PyTorch expresses by other operators of the tables.
EXPRESSED = (aten.rsub.Scalar, aten.transpose.int)
UNCHANGED = (aten.clone.default, aten.alias.default, aten.contiguous.default, aten.detach.default)
CHECKS = (aten._assert_tensor_metadata.default,)
CONSTANTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def expressed(program: ExportedProgram, operators: Container[Any]) -> ExportedProgram:
    """A program whose operators are among ``operators``, as far as PyTorch can express others by them, for ``walk``.

    Where none is another, as in most networks, the program stays itself: PyTorch takes as long as for the trace.
    """
    nodes = (node for node in program.graph.nodes if node.op == 'call_function')
    if all(node.target in operators or node.target in CHECKS or _unchanged(node) for node in nodes):
        return program
    known = torch.export.default_decompositions()
    return program.run_decompositions({operator: known[operator] for operator in EXPRESSED})


def _unchanged(node: fx.Node) -> bool:
    """Whether a node gives its first argument."""
    if node.target == aten.dropout.default:
        return node.args[2:] == (False,)  # not in training
    if node.target == aten.to.dtype:
        return node.meta['val'].dtype == node.all_input_nodes[0].meta['val'].dtype
    return node.target in UNCHANGED


@torch.no_grad()
def walk(
    program: ExportedProgram,
    layers: Mapping[Any, LayerWriter],
    enter: Callable[[tuple[int, ...]], Any],
    *,
    computed: type,
    engine: str,
) -> list[Any]:
    """Translate a program of float32 tensors; the engine's values of its outputs.

    Args:
        program: as ``expressed`` gives it.
        layers: by ATen operator, see ``nodes``. enter: gives the value of an input of a shape.
        computed: class of the engine's values, all others are constants. engine: its name, for sentences.

    Raises:
        InputError: an operator has no form in the engine; it names the operator and the module it came from.
    """
    constants, values = _constants(program), dict[fx.Node, Any]()
    outputs: list[Any] = []
    for node in program.graph.nodes:
        if node.op == 'placeholder':
            constant = constants.get(node.name)
            values[node] = enter(tuple(node.meta['val'].shape)) if constant is None else constant
        elif node.op == 'call_function' and node.target not in CHECKS:
            values[node] = _value(node, values, layers, computed, engine)
        elif node.op == 'output':
            outputs = [values.get(output) for output in node.args[0]]
    if not all(isinstance(output, computed) for output in outputs):
        raise InputError(f'an output of the network does not depend on its input, which {engine} has no form for')
    return outputs


def _constants(program: ExportedProgram) -> dict[str, Tensor]:
    """Parameters, buffers and constants by the name of their placeholder."""
    found = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind in CONSTANTS:
            source = program.state_dict if spec.target in program.state_dict else program.constants
            found[spec.arg.name] = source[spec.target].detach()
    return found


def _value(
    node: fx.Node, values: dict[fx.Node, Any], layers: Mapping[Any, LayerWriter], computed: type, engine: str
) -> Any:
    args: Any
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    if not any(isinstance(values[source], computed) for source in node.all_input_nodes):
        return node.target(*args, **kwargs)  # type: ignore[operator]
    if _unchanged(node):
        return args[0]
    if node.target not in layers:
        raise InputError(f'{engine} has no form for {_place(node)}; export its part of the network to another format')
    result = node.meta['val']
    if result.dtype is not torch.float32:
        raise InputError(f'{_place(node)} gives {result.dtype}; {engine} models are exported in float32')
    try:
        return layers[node.target](tuple(result.shape), *args, **kwargs)
    except InputError as error:
        raise InputError(f'{_place(node)}: {error}') from error


def _place(node: fx.Node) -> str:
    """The operator of a node and the module it came from, in words."""
    stack = [*(node.meta.get('nn_module_stack') or {}).values()]
    path, kind = stack[-1] if stack else ('', '')
    kind = (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
    return f'{node.target} of {path or "the network itself"} ({kind})'
