"""Fewer passes over memory: steps that follow a kernel are applied before it stores, and signs are written beside.

The arithmetic stays the graph's own, operation by operation, so that results are the same bits.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from bireal_plugin.export.c.elementwise import TURNED
from bireal_plugin.export.c.graph import REAL_CONVOLUTIONS, STORING, Buffer, Call, Graph, Signs, Step
from bireal_plugin.export.c.layout import BLOCK

BAND = 2**18  # bytes of the map between a convolution and a pool: part of a second-level cache
BY_CHANNEL = ('NUMBER', 'CHANNEL')  # operands that are the same in every row
ANY_LAYOUT = ('NUMBER', 'MAP')  # operands for which it does not matter how elements are split into pixels and channels


def fuse(graph: Graph) -> None:
    """Fuse the calls of a graph, in place, and decide who writes the sign maps that 1-bit convolutions read."""
    _drop_unread(graph)
    uses = Uses(graph)
    for call in list(graph.calls):
        if call.reads is not None:
            _take_shift(graph, call.reads, uses)
    for call in list(graph.calls):
        if call.kernel == 'map' and call in graph.calls:
            _join(graph, call, uses)
    _write_signs(graph, uses)
    for call in graph.calls:
        call.stored = call.kernel in STORING or (call.stored and uses.floats[call.out] > 0)
    for call in list(graph.calls):
        if call.kernel == 'max_pool':
            _take_turns(graph, call, uses)


class Uses:
    """The call that makes each buffer, and how often its floats and its signs are read; outputs count as readings."""

    def __init__(self, graph: Graph) -> None:
        self.makers = {call.out: call for call in graph.calls}
        self.floats = Counter(buffer for call in graph.calls for buffer in call.operands())
        self.floats.update(output.buffer for output in graph.outputs)
        self.signs = Counter(call.reads.source for call in graph.calls if call.reads is not None)


def _drop_unread(graph: Graph) -> None:
    wanted = {output.buffer for output in graph.outputs}
    kept = []
    for call in reversed(graph.calls):
        if call.out in wanted:
            kept.append(call)
            wanted.update(call.operands())
            if call.reads is not None:
                wanted.add(call.reads.source)
    graph.calls = kept[::-1]
    graph.layers = [(x, call) for x, call in graph.layers if call in kept]


def _take_shift(graph: Graph, signs: Signs, uses: Uses) -> None:
    """Let the shift of ReActNet's RSign be added where signs are taken, if ``x + shift`` is read for nothing else."""
    made = uses.makers.get(signs.source)
    if made is None or made.kernel != 'map' or uses.floats[signs.source]:
        return
    (step,) = made.steps
    if step.operation != 'ADD' or isinstance(step.operand, Buffer) or step.shape not in ('NUMBER', 'CHANNEL'):
        return
    if step.shape == 'CHANNEL' and made.channels != signs.channels:
        return
    readers = [call.reads for call in graph.calls if call.reads is not None and call.reads.source is signs.source]
    source = made.inputs[0]
    for reader in readers:
        reader.shift = np.broadcast_to(np.float32(step.operand), (reader.channels,)).copy()
        reader.source = source
    uses.floats[source] -= 1
    uses.signs[source] += len(readers)
    graph.calls.remove(made)


def _join(graph: Graph, call: Call, uses: Uses) -> None:
    """Move the step of a map to the kernel that makes its operand, the later one of two, if nobody else reads that."""
    (step,) = call.steps
    forms = [(call.inputs[0], step)]
    if step.shape == 'MAP' and isinstance(step.operand, Buffer) and step.operation in TURNED:
        forms.append((step.operand, Step(TURNED[step.operation], 'MAP', call.inputs[0])))
    found = []
    for source, form in forms:
        maker = uses.makers.get(source)
        if maker is None or maker.kernel in STORING or uses.floats[source] != 1 or uses.signs[source]:
            continue
        if form.shape in ANY_LAYOUT or maker.channels == call.channels or _splits_anyhow(maker):
            found.append((graph.calls.index(maker), maker, source, form))
    if not found:
        return
    _, maker, source, form = max(found, key=lambda entry: entry[0])
    if form.shape not in ANY_LAYOUT:
        maker.pixels, maker.channels = call.pixels, call.channels
    maker.steps.append(form)
    maker.out = call.out
    uses.makers[call.out] = maker
    uses.floats[source] -= 1
    # All operands are there where the map was.
    graph.calls.remove(maker)
    graph.calls[graph.calls.index(call)] = maker


def _splits_anyhow(call: Call) -> bool:
    return call.kernel == 'map' and all(step.shape in ANY_LAYOUT for step in call.steps)


def _write_signs(graph: Graph, uses: Uses) -> None:
    known: dict[tuple[Buffer, bytes | None, int], Signs] = {}
    for call in list(graph.calls):
        signs = call.reads
        if signs is None:
            continue
        key = (signs.source, None if signs.shift is None else signs.shift.tobytes(), signs.groups)
        call.reads = known.setdefault(key, signs)
        if call.reads is signs:
            _assign(graph, signs, uses)


def _assign(graph: Graph, signs: Signs, uses: Uses) -> None:
    maker = uses.makers.get(signs.source)
    if maker is not None and maker.kernel not in STORING and maker.signs is None and _in_blocks(maker):
        if _splits_anyhow(maker):
            maker.pixels, maker.channels = signs.pixels, signs.channels
        if maker.channels == signs.channels and (signs.groups == 1 or maker.kernel == 'map'):
            maker.signs = signs
            return
    place = 0 if maker is None else graph.calls.index(maker) + 1
    uses.floats[signs.source] += 1
    writer = Call('map', Buffer(signs.source.size), signs.pixels, signs.channels, [signs.source], signs=signs)
    writer.stored = False
    graph.calls.insert(place, writer)


def _take_turns(graph: Graph, pool: Call, uses: Uses) -> None:
    """Let a pool and the convolution in front of it take turns, where the map between would not stay in the cache."""
    index, window = graph.calls.index(pool), pool.window
    maker = graph.calls[index - 1] if index else None
    if maker is None or maker.kernel not in REAL_CONVOLUTIONS or maker.out not in pool.inputs:
        return
    made = maker.window
    assert window is not None
    assert made is not None
    alone = maker.signs is None and uses.floats[maker.out] == 1
    alike = (made.out_rows, made.out_columns, made.out_channels) == (window.rows, window.columns, window.channels)
    if not alone or not alike or any(step.shape not in BY_CHANNEL for step in (*maker.steps, *pool.steps)):
        return
    row = window.columns * window.channels
    fitting = BAND // (graph.map_bytes * row) - window.reached_rows(1)
    band = max(fitting, 0) // window.row_stride + 1
    if band >= window.out_rows:
        return
    between = Buffer(window.reached_rows(band) * row)
    maker.out = between
    pool.inputs, pool.behind, pool.band = [between], maker, band
    graph.calls.remove(maker)


def _in_blocks(call: Call) -> bool:
    """Whether no block of channels that a kernel computes begins within a half word of the sign map."""
    w = call.window
    return w is None or w.groups == 1 or w.out_channels // w.groups % BLOCK == 0
