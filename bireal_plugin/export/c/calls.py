"""The calls of a graph as statements in C."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.constants import Constants, number
from bireal_plugin.export.c.graph import Buffer, Call, Graph, Piece, Signs, Step
from bireal_plugin.export.c.workspace import Plan

DIMENSIONS = 5  # BR_DIMENSIONS


@dataclass(frozen=True, eq=False)
class Tap:
    """Input or output of a 1-bit convolution, which a file that is compiled to show them writes behind its outputs.

    Attributes:
        layer: the call of the convolution. shape: (C, H, W); elements lie with channels last, from ``place`` on.
    """

    layer: Call
    is_input: bool
    shape: tuple[int, ...]
    place: int


def taps(graph: Graph) -> list[Tap]:
    """Input and output of every 1-bit convolution, one pair after the other."""
    found: list[Tap] = []
    place = 0
    for x, layer in graph.layers:
        window = layer.window
        assert window is not None
        for shape in (x.shape, (window.out_channels, window.out_rows, window.out_columns)):
            found.append(Tap(layer, len(found) % 2 == 0, shape, place))
            place += math.prod(shape)
    return found


class CallWriter:
    """Writes calls that work in ``unsigned char *w``, with kernels from ``k`` and taps from ``br_map *taps``.

    Args:
        macro: prefix of the file's macros.
    """

    def __init__(self, graph: Graph, plan: Plan, constants: Constants, macro: str) -> None:
        self.graph, self.plan, self.constants, self.macro, self.taps = graph, plan, constants, macro, taps(graph)

    def lines(self, call: Call) -> Iterator[str]:
        """The statements of one call."""
        if call.kernel == 'move':
            for piece in call.pieces:
                yield from self.copied(piece, self.numbers(piece.source), self.numbers(call.out))
            return
        yield f'  {{ /* {described(call)} */'
        if call.window is not None:
            yield f'    static const br_window at = {{{", ".join(map(str, astuple(call.window)))}}};'
        if call.kernel == 'quantize':
            yield f'    {self._called(call, f"(uint8_t *)(void *)(w + {self.plan.places[call.out]})")}'
            yield '  }'
            return
        if call.behind is not None:
            yield from self._in_turns(call, call.behind)
            return
        yield from self._steps(call, 'steps')
        yield f'    const br_tail tail = {self._tail(call, "steps")};'
        yield f'    {self._called(call, "&tail")}'
        hidden = [tap for tap in self.taps if tap.layer is call and not tap.is_input]
        if self._shown_at(call) or hidden:
            yield f'#ifdef {self.macro}_TAPS'
            for tap in hidden:
                yield f'    const br_tail tap = {{NULL, 0, taps + {tap.place}, NULL, NULL}};'
                yield f'    {self._called(call, "&tap")}'
            yield from self._shown_signs(call)
            yield '#endif'
        yield '  }'

    def _in_turns(self, pool: Call, conv: Call) -> Iterator[str]:
        """A convolution and a pool, band by band."""
        made, pooled = conv.window, pool.window
        assert made is not None
        assert pooled is not None
        yield f'    static const br_window made = {{{", ".join(map(str, astuple(made)))}}};'
        yield from self._steps(conv, 'first')
        yield from self._steps(pool, 'steps')
        yield f'    br_map *between = {self.numbers(conv.out)};'
        yield f'    for (int row = 0; row < at.out_rows; row += {pool.band}) {{'
        yield f'      const br_band band = br_banded(&made, &at, row, {pool.band}, between);'
        kept = f'between + (size_t)band.kept * {made.out_columns * made.out_channels}'
        yield f'      const br_tail fresh = {{{self._counted(conv, "first")}, {kept}, NULL, NULL}};'
        floats = f' + row * {pooled.out_columns * pooled.out_channels}'
        words = '' if pool.signs is None else f' + row * {pool.signs.row_words(pooled.out_columns)}'
        yield f'      const br_tail tail = {self._tail(pool, "steps", floats, words)};'
        row = made.row_stride * made.reached_columns * made.channels  # bytes
        offset = f' + band.from * {row}' if conv.kernel == 'conv_int8' else ''
        yield f'      {self._called(conv, "&fresh", "&band.conv", offset)}'
        yield f'      {self._called(pool, "&tail", "&band.pool")}'
        yield '    }'
        if self._shown_at(pool):
            yield f'#ifdef {self.macro}_TAPS'
            yield from self._shown_signs(pool)
            yield '#endif'
        yield '  }'

    def _steps(self, call: Call, name: str) -> Iterator[str]:
        if call.steps:
            yield f'    const br_step {name}[] = {{'
            yield from (f'        {self._step(step)},' for step in call.steps)
            yield '    };'

    def _counted(self, call: Call, steps: str) -> str:
        return f'{steps}, {len(call.steps)}' if call.steps else 'NULL, 0'

    def _shown_at(self, call: Call) -> list[Tap]:
        """The taps of what a call stores, as the input of 1-bit layers."""
        return [tap for tap in self.taps if tap.is_input and tap.layer.reads is call.signs is not None]

    def _shown_signs(self, call: Call) -> Iterator[str]:
        out = self._out(call)
        # The first last: where nothing else keeps the floats, all are made of what is there.
        yield from (f'    {self._shown(call.signs, tap, out)}' for tap in reversed(self._shown_at(call)) if call.signs)

    def _out(self, call: Call, behind: str = '') -> str:
        """C expression of the address at which a call stores floats, ``behind`` the first of them."""
        shown = self._shown_at(call)
        return f'{self.numbers(call.out)}{behind}' if call.stored else self._tap(shown[0], behind) if shown else 'NULL'

    def _tap(self, tap: Tap, behind: str) -> str:
        return f'{self.macro}_TAP({tap.place}{behind})'

    def _tail(self, call: Call, steps: str, floats: str = '', words: str = '') -> str:
        """A br_tail, of which outputs and signs begin so many floats and words further on."""
        signs = 'NULL, NULL' if call.signs is None else f'{self._signs(call.signs)}{words}, {self._shift(call.signs)}'
        return f'{{{self._counted(call, steps)}, {self._out(call, floats)}, {signs}}}'

    def copied(self, piece: Piece, source: str, target: str, function: str = 'br_move') -> Iterator[str]:
        """The statement of a strided copy by one of the functions of ``move.h``."""
        source = f'{source} + {piece.start}' if piece.start else source
        target = f'{target} + {piece.out_start}' if piece.out_start else target
        yield f'  {{ /* {" x ".join(map(str, piece.sizes))} numbers to their places */'
        yield f'    static const br_walk at = {_walk(piece)};'
        yield f'    {function}(&at, {source}, {target});'
        yield '  }'

    def numbers(self, buffer: Buffer) -> str:
        """A pointer to the numbers of a buffer."""
        if buffer.constant is not None:
            return self.constants(self.graph.kept(buffer.constant))
        return f'(br_map *)(void *)(w + {self.plan.places[buffer]})'

    def _called(self, call: Call, target: str, at: str = '&at', offset: str = '') -> str:
        groups = 1 if call.signs is None else call.signs.groups
        window = f'{call.pixels}, {call.channels}, {groups}' if call.window is None else at
        read = self.numbers(call.inputs[0]) if call.reads is None else self._signs(call.reads)
        if call.kernel == 'conv_int8':
            read = f'w + {self.plan.places[call.inputs[0]]}{offset}'
        arrays = ['NULL' if array is None else self.constants(array) for array in call.arrays]
        numbers = [number(value) if isinstance(value, float) else str(value) for value in call.numbers]
        return f'k->{call.kernel}({", ".join([window, read, *numbers, *arrays, target])});'

    def _shown(self, signs: Signs, tap: Tap, source: str) -> str:
        step = f'&(const br_step){{BR_ADD, BR_CHANNEL, {self._shift(signs)}, 0}}, 1'
        tail = f'{"NULL, 0" if signs.shift is None else step}, taps + {tap.place}, NULL, NULL'
        return f'k->map({signs.pixels}, {signs.channels}, 1, {source}, &(const br_tail){{{tail}}});'

    def _step(self, step: Step) -> str:
        operand = step.operand
        if isinstance(operand, Buffer):
            return f'{{BR_{step.operation}, BR_{step.shape}, {self.numbers(operand)}, 0}}'
        if isinstance(operand, np.ndarray):
            values = operand if step.shape == 'CHANNEL' else self.graph.kept(operand)
            return f'{{BR_{step.operation}, BR_{step.shape}, {self.constants(values)}, 0}}'
        return f'{{BR_{step.operation}, BR_NUMBER, NULL, {number(operand)}}}'

    def _signs(self, signs: Signs) -> str:
        return f'(uint32_t *)(void *)(w + {self.plan.places[signs]})'

    def _shift(self, signs: Signs) -> str:
        if signs.shift is None:
            return 'NULL'
        # Half precision has a smallest number: a sum of two of its numbers that is not 0 is one too.
        half = self.graph.maps == 'f16'
        return self.constants(signs.shift.astype(np.float16).astype(np.float32) if half else signs.shift)


def described(call: Call) -> str:
    """A call's kernel and sizes, such as ``conv 3 x 3: 56 x 56 x 64 to 28 x 28 x 128``."""
    if call.behind is not None:
        return f'{described(call.behind)}, and {described(replace(call, behind=None))}'
    name = call.kernel.replace('_', ' ')
    w = call.window
    if w is None:
        return f'{name}: {call.pixels} x {call.channels}'
    sizes = (w.rows, w.columns, w.channels), (w.out_rows, w.out_columns, w.out_channels)
    before, behind = (' x '.join(map(str, size)) for size in sizes)
    kernel = '' if w.kernel_rows == w.kernel_columns == 1 else f' {w.kernel_rows} x {w.kernel_columns}'
    return f'{name}{kernel}: {before} to {behind}'


def _walk(piece: Piece) -> str:
    """The initializer of a ``br_walk``: as few dimensions as there can be, and the best one innermost."""
    rows = [row for row in zip(piece.sizes, piece.strides, piece.out_strides, strict=True) if row[0] > 1]
    rows.sort(key=lambda row: -abs(row[2]))
    joined: list[tuple[int, int, int]] = []
    for size, stride, out in rows:
        if joined and joined[-1][1] == size * stride and joined[-1][2] == size * out:
            joined[-1] = (joined[-1][0] * size, stride, out)
        else:
            joined.append((size, stride, out))
    if len(joined) > DIMENSIONS:
        raise InputError(f'a copy of {" x ".join(map(str, piece.sizes))} numbers in this order is not exported')
    joined.sort(key=lambda row: (row[1] == row[2] == 1, row[0]))
    joined = [(1, 0, 0)] * (DIMENSIONS - len(joined)) + joined
    return f'{{{", ".join("{" + ", ".join(map(str, column)) + "}" for column in zip(*joined, strict=True))}}}'
