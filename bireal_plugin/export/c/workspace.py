"""Places of feature maps and sign maps in one block of memory: what is not alive at the same time may share a place."""

from __future__ import annotations

from dataclasses import dataclass, field

from bireal_plugin.export.c.graph import STORING, Buffer, Call, Graph, Signs

ALIGNMENT = 64  # bytes


@dataclass(eq=False)
class _Block:
    """Bytes that are alive from the call at ``start`` to the one at ``end``, both included."""

    size: int
    start: int
    end: int
    place: int = 0


@dataclass
class Plan:
    """Byte places of buffers and sign maps in a workspace of ``size`` bytes."""

    size: int = 0
    places: dict[Buffer | Signs, int] = field(default_factory=dict)


def plan(graph: Graph) -> Plan:
    """The places of all that the fused calls of a graph store."""
    assert graph.input is not None
    last = len(graph.calls)
    ends: dict[Buffer | Signs, int] = {}
    for index, call in enumerate(graph.calls):
        ends.update(dict.fromkeys(call.operands(), index))
        if call.reads is not None:
            ends[call.reads] = index
    ends.update((output.buffer, last) for output in graph.outputs)

    blocks: dict[Buffer | Signs, _Block] = {}
    first = graph.input.buffer
    blocks[first] = _Block(graph.map_bytes * first.size, -1, ends.get(first, 0))
    for index, call in enumerate(graph.calls):
        if call.stored:
            shared = _overwritten(call, index, ends, blocks)
            if shared is None:
                width = 4 if call.kernel == 'quantize' else graph.map_bytes
                blocks[call.out] = _Block(width * call.out.size, index, ends[call.out])
            else:
                blocks[call.out] = blocks[shared]
                blocks[shared].end = ends[call.out]
        if call.behind is not None:
            blocks[call.behind.out] = _Block(graph.map_bytes * call.behind.out.size, index, index)
        if call.signs is not None:
            blocks[call.signs] = _Block(4 * call.signs.words, index, ends[call.signs])
    size = _place(list(dict.fromkeys(blocks.values())))
    return Plan(size, {key: block.place for key, block in blocks.items()})


def _overwritten(
    call: Call, index: int, ends: dict[Buffer | Signs, int], blocks: dict[Buffer | Signs, _Block]
) -> Buffer | None:
    """An operand in whose place the result can be stored: read element by element, and by nobody later."""
    if call.kernel in STORING:
        return None
    maps = [step.operand for step in call.steps if step.shape == 'MAP' and isinstance(step.operand, Buffer)]
    operands = call.operands()
    for buffer in [*(call.inputs if call.kernel == 'map' else ()), *maps]:
        alone = buffer in blocks and operands.count(buffer) == 1
        if alone and buffer.size == call.out.size and ends[buffer] == index == blocks[buffer].end:
            return buffer
    return None


def _place(blocks: list[_Block]) -> int:
    """Give every block the lowest place that is free while it lives, the largest first; the bytes needed."""
    placed: list[_Block] = []
    for block in sorted(blocks, key=lambda block: -block.size):
        others = [other for other in placed if other.start <= block.end and block.start <= other.end]
        for other in sorted(others, key=lambda other: other.place):
            if block.place + block.size <= other.place:
                break
            block.place = max(block.place, -(-(other.place + other.size) // ALIGNMENT) * ALIGNMENT)
        placed.append(block)
    return max(block.place + block.size for block in blocks)
