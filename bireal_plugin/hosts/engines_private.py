"""Private parts of flatbuffers, onnxruntime and qonnx, which are imported by those who use them alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import Any


def field_position(table: Any, field: int) -> int:
    """Byte position of a field in the buffer of a table that the flatbuffer schema's generated code read.

    Args:
        field: offset in the table's vtable: 4 for its first field, 6 for the second, ...
    """
    inner = table._tab
    return int(inner.Pos + inner.Offset(field))


def byte_vector(builder: Any, data: bytes, *, alignment: int) -> int:
    """Append ``data`` to a flatbuffer at an aligned place; the vector's offset. ``CreateByteVector`` cannot align."""
    builder.StartVector(1, len(data), alignment)
    builder.head = builder.head - len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return builder.EndVector()


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """The errors that loading or running a model may raise, apart from Python's own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = 'Fail', 'InvalidArgument', 'InvalidGraph', 'InvalidProtobuf', 'NotImplemented', 'RuntimeException'
    return tuple(getattr(state, name) for name in names)


_qonnx = RLock()


@contextmanager
def pinned_ir_version(version: int) -> Iterator[None]:
    """Let qonnx run and fold nodes within the block, one at a time, whatever the versions of onnx and onnxruntime.

    It wraps each node in a model of the newest IR version that onnx knows, which a released onnxruntime may not read
    yet: onnx 1.23 writes version 14, onnxruntime 1.31 reads up to 13. It has no setting for the version.
    """
    from qonnx.core import onnx_exec

    with _qonnx:
        make_model = onnx_exec.qonnx_make_model
        onnx_exec.qonnx_make_model = partial(make_model, ir_version=version)
        try:
            yield
        finally:
            onnx_exec.qonnx_make_model = make_model
