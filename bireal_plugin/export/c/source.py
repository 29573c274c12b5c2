"""The text of ``net.c``: header, kernels, constants and functions, in this order; it includes no file of ours.

A session compiles the kernels apart, once for all networks: marks divide the file for ``parts``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from bireal_plugin.c_compiler import joined
from bireal_plugin.export.c.calls import CallWriter
from bireal_plugin.export.c.constants import Constants
from bireal_plugin.export.c.graph import Graph, Kernel, MapPrecision, Piece, channels_last, strides_of
from bireal_plugin.export.c.header import Interface
from bireal_plugin.export.c.workspace import Plan

KERNELS = Path(__file__).with_name('kernels')
MARKS = tuple(f'/* ==== {what} ==== */\n' for what in ('Data of the kernels', 'Kernels', 'The network'))
NAMES = tuple(name for name in get_args(Kernel) if name not in ('quantize', 'move'))  # BR_HAS_...
MAPS = re.compile('^#define BR_MAPS .*\n', re.MULTILINE)
APART = """
const br_kernels_t *br_kernels_apart(void);
const br_kernels_t *br_kernels_apart(void) { return br_kernels(); }
"""
ELSEWHERE = """\
const br_kernels_t *br_kernels_apart(void);
#define br_kernels br_kernels_apart
"""
SETTINGS = """\
/* With {NAME}_TAPS, inputs and outputs of all 1-bit layers are written behind the outputs, for verification. */
#ifdef {NAME}_TAPS
#define {NAME}_TAP_FLOATS {taps}
#define {NAME}_TAP(place) (taps + (place))
#else
#define {NAME}_TAP_FLOATS 0
#define {NAME}_TAP(place) NULL
#endif

_Static_assert({NAME}_WORKSPACE_BYTES < PTRDIFF_MAX, "this network needs a larger address space");
"""
LAPS = 'br_laps'
TIMED = """\
/* Seconds of every call, added up; for profiles alone. */
#include <time.h>
double {laps}[{count}];
static double br_clock(void) {{
  static time_t origin;
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  if (!origin) origin = now.tv_sec;
  return (double)(now.tv_sec - origin) + 1e-9 * (double)now.tv_nsec;
}}
"""
FUNCTION = """\
int {name}_{function}(const {kind} *image, float *output, void *workspace) {{
  const br_kernels_t *k = br_kernels();
  unsigned char *w = workspace;
  if (!image || !output || !workspace) return {NAME}_NULL_POINTER;
  if ((uintptr_t)workspace % {NAME}_WORKSPACE_ALIGNMENT) return {NAME}_MISALIGNED;
  if (!k) return {NAME}_NO_KERNELS;
  for (int i = 0; i < {NAME}_IMAGES; i++) {{
    const {kind} *x = image + (size_t)i * {size};
    {enter}
    {name}_image(k, w, (br_map *)(void *)(output + {NAME}_OUTPUT_FLOATS + (size_t)i * {NAME}_TAP_FLOATS));
    {name}_outputs(w, i, output);
  }}
  return 0;
}}
"""


def write(graph: Graph, plan: Plan, interface: Interface, *, timed: bool = False) -> str:
    """The text of ``net.c`` for a graph that was fused and placed.

    Args:
        timed: add up the seconds of every call in the array LAPS, one number each.
    """
    name, upper = interface.name, interface.name.upper()
    constants = Constants(f'{name}_c')
    writer = CallWriter(graph, plan, constants, upper)
    calls = [line for i, call in enumerate(graph.calls) for line in _call(writer.lines(call), i if timed else None)]
    outputs = [*_outputs(graph, writer, upper)]
    functions = [*_functions(graph, writer, interface)]
    taps = sum(int(np.prod(tap.shape)) for tap in writer.taps)
    parts = [
        interface.header(),
        kernels(
            {str(each.kernel) for call in graph.calls for each in (call, call.behind) if each is not None}, graph.maps
        ),
        SETTINGS.format(NAME=upper, taps=taps),
        *([TIMED.format(laps=LAPS, count=len(graph.calls))] if timed else []),
        *(*constants.texts, ''),
        f'static void {name}_image(const br_kernels_t *k, unsigned char *w, br_map *taps) {{',
        *(*calls, '  (void)k, (void)w, (void)taps;', '}', ''),
        f'static void {name}_outputs(const unsigned char *w, int i, float *output) {{',
        *(*outputs, '}', ''),
        *functions,
    ]
    return '\n'.join(parts)


def _call(lines: Iterator[str], lap: int | None) -> Iterator[str]:
    if lap is not None:
        yield f'  {LAPS}[{lap}] -= br_clock();'
    yield from lines
    if lap is not None:
        yield f'  {LAPS}[{lap}] += br_clock();'


def kernels(names: set[str], maps: MapPrecision = 'f32') -> str:
    """The text of those kernels, and of all that they need, for feature maps of a precision."""
    known: set[str] = set()
    defines = [f'#define BR_MAPS BR_{maps.upper()}\n'] if maps != 'f32' else []
    defines += [f'#define BR_HAS_{name.upper()}\n' for name in NAMES if name in names]
    texts = [joined(KERNELS / name, known) for name in ('bireal.h', 'kernels.h', 'move.h')]
    return ''.join([*defines, *(line for pair in zip(MARKS, texts, strict=True) for line in pair)])


def parts(text: str) -> tuple[str, str]:
    """The text of a file as two to be compiled: all kernels, the same for all feature maps alike, and the network."""
    front, text = text.split(MARKS[0])
    data, text = text.split(MARKS[1])
    compute, network = text.split(MARKS[2])
    defines = ''.join(MAPS.findall(front)) + ''.join(f'#define BR_HAS_{name.upper()}\n' for name in NAMES)
    return defines + data + compute + APART, front + data + ELSEWHERE + network


def _outputs(graph: Graph, writer: CallWriter, macro: str) -> Iterator[str]:
    for i, value in enumerate(graph.outputs):
        plain = strides_of(value.shape, range(len(value.shape)))
        piece = Piece(value.buffer, value.shape, tuple(value.strides), tuple(plain))
        source = writer.numbers(value.buffer).replace('(br_map *)(void *)', '(const br_map *)(const void *)')
        target = f'output + {macro}_OUTPUT{i}_PLACE + (size_t)i * {value.buffer.size}'
        yield from writer.copied(piece, source, target, 'br_leave')


def _functions(graph: Graph, writer: CallWriter, interface: Interface) -> Iterator[str]:
    assert graph.input is not None
    buffer, shape = graph.input.buffer, graph.input.shape
    size, place = buffer.size, writer.numbers(buffer)
    plain, stored = (strides_of(shape, order) for order in (range(len(shape)), channels_last(len(shape))))
    entered = [*writer.copied(Piece(buffer, shape, tuple(plain), tuple(stored)), 'x', place, 'br_enter')]
    kinds: list[tuple[str, str, Sequence[str]]] = [('run', 'float', entered)]
    if interface.statistics is not None:
        values = (np.array(each, np.float32) for each in (interface.statistics.mean, interface.statistics.std))
        mean, std = map(writer.constants, values)
        pixels = size // shape[0]
        kinds.append(('run_u8', 'uint8_t', [f'br_normalise({pixels}, {shape[0]}, x, {mean}, {std}, {place});']))
    for function, kind, lines in kinds:
        enter = '\n    '.join(line.strip() for line in lines)
        name = interface.name
        yield FUNCTION.format(name=name, NAME=name.upper(), function=function, kind=kind, size=size, enter=enter)
