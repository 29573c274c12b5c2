"""onnxruntime's errors, whose classes have no public name."""

from __future__ import annotations


def errors() -> tuple[type[Exception], ...]:
    """The errors that loading or running a model may raise, apart from Python's own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )
