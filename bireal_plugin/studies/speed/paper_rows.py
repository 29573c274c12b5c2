"""The rows of Tables 6 and 7: time of the 1-bit network by kind of layer beside that of the 32-bit one."""

from __future__ import annotations

from collections.abc import Sequence

from bireal_plugin.studies.speed.engine_profile import (
    BINARY,
    ELEMENTWISE,
    LINEAR,
    POOLING,
    REAL_1X1,
    REAL_3X3,
    REAL_OTHER,
    SIGN,
    STEM,
    Profile,
)

# The kinds of layers of each row. Signs are what a 1-bit convolution reads, so they are its own.
ROWS = {
    '3x3 convolutions': (BINARY, SIGN, REAL_3X3, REAL_OTHER),
    'downsampling': (REAL_1X1,),
    'first layer': (STEM,),
    'last layer': (LINEAR,),
    'BatchNorm, additions': (ELEMENTWISE,),
    'pooling': (POOLING,),
}
REST, ALL = 'rest', 'all'
# Speed-ups on the paper's FPGA at 18 layers, as far as they are known.
FPGA = {'3x3 convolutions': '15.8x', ALL: '7.38x'}


def paper_rows(profile: Profile) -> dict[str, float]:
    """Milliseconds of each row; those of a kind that no row has are in the rest."""
    kinds = {kind: ms for kind, (_, ms) in profile.kinds().items()}
    rows = {row: sum(kinds.pop(kind, 0.0) for kind in parts) for row, parts in ROWS.items()}
    return {**rows, REST: sum(kinds.values()), ALL: profile.layers_ms}


def can_be_compared(ours: Profile, real: Profile) -> bool:
    """Whether real 1x1 convolutions are the same in both networks, as they are where blocks have 3x3 ones alone."""
    counts = [profile.kinds().get(REAL_1X1, (0, 0.0))[0] for profile in (ours, real)]
    return counts[0] == counts[1]


def table_rows(profiles: Sequence[Profile], real: Profile) -> list[dict[str, str]]:
    """A row per kind: the 32-bit network's milliseconds, ours on every engine and how many times as fast, the paper's.

    A kind that an engine joins with the layers in front of it has no time of its own, and no ratio.
    """
    theirs = paper_rows(real)
    columns = {profile.engine: paper_rows(profile) for profile in profiles}
    lines = []
    for row, before in theirs.items():
        line = {'layers': row, f'32 bits, {real.engine}': f'{before:.3f}' if before else ''}
        for engine, times in columns.items():
            ratio = f' ({before / times[row]:.1f}x)' if before and times[row] else ''
            line[f'1 bit, {engine}'] = f'{times[row]:.3f}{ratio}' if times[row] else ''
        line['paper, FPGA'] = FPGA.get(row, '')
        lines.append(line)
    return lines
