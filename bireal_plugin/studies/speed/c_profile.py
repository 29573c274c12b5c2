"""Time of an inference by kind of layer on the C engine, from clocks compiled between its calls for this purpose."""

from __future__ import annotations

import ctypes
import time
from statistics import median

import numpy as np

from bireal_plugin.export.c.calls import described
from bireal_plugin.export.c.engine import convert, load_library
from bireal_plugin.export.c.graph import REAL_CONVOLUTIONS, Buffer, Call
from bireal_plugin.export.c.header import Interface
from bireal_plugin.export.c.source import LAPS, write
from bireal_plugin.export.c.workspace import ALIGNMENT, plan
from bireal_plugin.studies.speed.engine_profile import (
    BINARY,
    ELEMENTWISE,
    LINEAR,
    POOLING,
    QUANTIZE,
    REAL_1X1,
    REAL_3X3,
    REAL_OTHER,
    REORDER,
    STEM,
    Profile,
    ProfiledLayer,
)
from bireal_plugin.studies.speed.engines import TimedEngine
from bireal_plugin.studies.speed.prepared import Forms

NAME = 'bireal_profiled'
KIND_OF = {
    'binary_conv': BINARY,
    'quantize': QUANTIZE,
    **dict.fromkeys(('max_pool', 'average_pool'), POOLING),
    **dict.fromkeys(('nearest', 'bilinear', 'move'), REORDER),
    'map': ELEMENTWISE,
}


def profile_c(engine: TimedEngine, forms: Forms, *, runs: int, warm_up: int) -> Profile:
    """Profile ``runs`` inferences of a network on one of the C engines.

    The kernels are those of every file; only the network between them is compiled again, with a reading of the clock
    behind each call. What a call does to its result before it stores it, such as BatchNorm, an addition and the next
    layer's signs, is in its time.
    """
    graph = convert(forms.network, forms.shape, **forms.c_options(engine))
    placed = plan(graph)
    images, image = int(forms.shape[0]), tuple(map(int, forms.shape[1:]))
    shapes = tuple(output.shape for output in graph.outputs)
    text = write(graph, placed, Interface(NAME, images, image, shapes, placed.size, None), timed=True)
    library = load_library(text, NAME, shown=False, threads=forms.threads)
    laps = np.ctypeslib.as_array((ctypes.c_double * len(graph.calls)).in_dll(library, LAPS))
    result = np.empty(images * sum(int(np.prod(shape)) for shape in shapes), np.float32)
    workspace = np.empty(placed.size + ALIGNMENT, np.uint8)
    place = (workspace.ctypes.data + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    batch = np.ascontiguousarray(forms.images.numpy())
    run = getattr(library, f'{NAME}_run')
    run.argtypes = [ctypes.c_void_p] * 3
    for _ in range(warm_up):
        run(batch.ctypes.data, result.ctypes.data, place)
    wholes, spent = [], []
    for _ in range(runs):
        laps[:] = 0
        start = time.perf_counter()
        run(batch.ctypes.data, result.ctypes.data, place)
        wholes.append(1e3 * (time.perf_counter() - start))
        spent.append(1e3 * laps)
    layers = tuple(
        ProfiledLayer(
            f'{i}',
            call.kernel,
            described(call),
            kind_of_call(call, image[0]),
            float(ms),
            images * products(call),
            images * moved(call, graph.map_bytes),
        )
        for i, (call, ms) in enumerate(zip(graph.calls, np.median(spent, 0), strict=True))
    )
    return Profile(engine, runs, median(wholes), layers)


def kind_of_call(call: Call, image_channels: int) -> str:
    """The kind of a call; the stem is the convolution that reads as many channels as images have, with its pool."""
    if call.behind is not None:
        return kind_of_call(call.behind, image_channels)
    if call.kernel not in REAL_CONVOLUTIONS:
        return KIND_OF[call.kernel]
    window = call.window
    assert window is not None
    if window.channels == image_channels:
        return STEM
    if window.rows == 1 and window.kernel_rows == 1:  # as linear layers are exported
        return LINEAR
    return {(1, 1): REAL_1X1, (3, 3): REAL_3X3}.get((window.kernel_rows, window.kernel_columns), REAL_OTHER)


def products(call: Call) -> int:
    """Products of an input and a weight that a call adds up for one image; padding has none."""
    found = 0 if call.behind is None else products(call.behind)
    if call.kernel not in ('binary_conv', *REAL_CONVOLUTIONS):
        return found
    w = call.window
    assert w is not None
    rows = _taps(w.out_rows, w.rows, w.kernel_rows, w.row_stride, w.top, w.row_dilation)
    columns = _taps(w.out_columns, w.columns, w.kernel_columns, w.column_stride, w.left, w.column_dilation)
    return rows * columns * w.channels // w.groups * w.out_channels


def _taps(outputs: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Taps of one axis that lie on the image, of all outputs together."""
    places = stride * np.arange(outputs)[:, None] - padding + dilation * np.arange(kernel)
    return int(((places >= 0) & (places < size)).sum())


def moved(call: Call, map_bytes: int) -> int:
    """Bytes that a call reads and writes for one image, each once: maps, signs and constants."""
    inner = 0 if call.behind is None else moved(call.behind, map_bytes)
    operands = [step.operand for step in call.steps] + [*call.inputs, *(piece.source for piece in call.pieces)]
    maps = sum(map_bytes * each.size for each in operands if isinstance(each, Buffer))
    constants = [*call.arrays, *(each for each in operands if isinstance(each, np.ndarray))]
    signs = sum(4 * each.words for each in (call.reads, call.signs) if each is not None)
    stored = map_bytes * call.out.size if call.stored else 0
    return inner + maps + signs + stored + sum(each.nbytes for each in constants if each is not None)
