"""qonnx's way of wrapping one node in a model, which has no setting for the model's IR version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def pinned_ir_version(version: int) -> Iterator[None]:
    """Let qonnx run and fold nodes within the block, whatever the versions of onnx and onnxruntime.

    It wraps each node in a model of the newest IR version that onnx knows, which a released onnxruntime may not read
    yet: onnx 1.23 writes version 14, onnxruntime 1.31 reads up to 13.
    """
    from qonnx.core import onnx_exec

    make_model = onnx_exec.qonnx_make_model
    onnx_exec.qonnx_make_model = partial(make_model, ir_version=version)
    try:
        yield
    finally:
        onnx_exec.qonnx_make_model = make_model
