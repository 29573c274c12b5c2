"""The text of ``net.h``: sizes, constants and functions of a network in C."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bireal_plugin.export.c.constants import number
from bireal_plugin.export.c.workspace import ALIGNMENT

CODES = dict(NULL_POINTER=1, MISALIGNED=2, NO_KERNELS=3)
RUN = """\
/* Runs the network on {NAME}_IMAGES normalised images, float32 as (image, channel, row, column).
 *
 * Outputs are written as PyTorch has them, each (image, ...), one behind the other. `workspace` has
 * {NAME}_WORKSPACE_BYTES bytes at a multiple of {NAME}_WORKSPACE_ALIGNMENT; what is in it does not matter. Calls at the
 * same time need one each. Nothing is allocated, and nothing is kept between calls.
 *
 * Returns 0, {NAME}_NULL_POINTER, {NAME}_MISALIGNED (the workspace), or {NAME}_NO_KERNELS: the file was compiled for
 * other processors alone. */
int {name}_run(const float *image, float *output, void *workspace);
"""
RUN_U8 = """\
/* The same for bytes, (image, row, column, channel), which are normalised here: (byte - mean) / std. */
int {name}_run_u8(const uint8_t *image, float *output, void *workspace);
"""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation per channel of the network's images, in the units of bytes."""

    mean: Sequence[float]
    std: Sequence[float]


@dataclass(frozen=True)
class Interface:
    """The interface of a network in C, as its header declares it.

    Attributes:
        name: of the network in C. images: in one call.
        image: (C, H, W). outputs: shapes without the batch. workspace: bytes.
    """

    name: str
    images: int
    image: tuple[int, ...]
    outputs: tuple[tuple[int, ...], ...]
    workspace: int
    statistics: Statistics | None

    def header(self) -> str:
        """The text of the header."""
        name, upper = self.name, self.name.upper()
        functions = RUN + ('' if self.statistics is None else f'\n{RUN_U8}')
        return '\n'.join(
            [
                *(f'#ifndef {upper}_H', f'#define {upper}_H', '', '#include <stdint.h>', ''),
                *('#ifdef __cplusplus', 'extern "C" {', '#endif', ''),
                *(f'#define {upper}_{word} {value}' for word, value in self._defines().items()),
                *('', functions.format(name=name, NAME=upper)),
                *('#ifdef __cplusplus', '}', '#endif', '', '#endif', ''),
            ]
        )

    def _defines(self) -> Mapping[str, object]:
        words: dict[str, object] = dict(
            IMAGES=self.images,
            **dict(zip(('INPUT_CHANNELS', 'INPUT_ROWS', 'INPUT_COLUMNS'), self.image, strict=True)),
            WORKSPACE_BYTES=self.workspace,
            WORKSPACE_ALIGNMENT=ALIGNMENT,
        )
        place = 0
        for i, shape in enumerate(self.outputs):
            whole = (self.images, *shape)
            words |= {f'OUTPUT{i}_PLACE': place, f'OUTPUT{i}_SHAPE': f'{{{", ".join(map(str, whole))}}}'}
            place += math.prod(whole)
        words |= dict(OUTPUTS=len(self.outputs), OUTPUT_FLOATS=place)
        if self.statistics is not None:
            for word, values in (('MEAN', self.statistics.mean), ('STD', self.statistics.std)):
                words[word] = f'{{{", ".join(map(number, values))}}}'
        return words | CODES
