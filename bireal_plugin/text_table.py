"""The stage table a training run ends with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def stage_table(results: Sequence[dict[str, Any]]) -> str:
    """One row per stage, one column per key any row has; numbers aligned right.

    Numbers below 1, such as losses, show four decimals, others two.
    """
    columns = list(dict.fromkeys(key for row in results for key in row))
    cells = [columns, *[[_cell(row.get(column)) for column in columns] for row in results]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    numeric = [any(isinstance(row.get(column), (int, float)) for row in results) for column in columns]

    def line(row: Sequence[str]) -> str:
        parts = [cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(row, widths, numeric, strict=True)]
        return '  '.join(parts).rstrip()

    return '\n'.join([line(cells[0]), '  '.join('-' * width for width in widths), *map(line, cells[1:])])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.4f}' if abs(value) < 1 else f'{value:.2f}'
    return '' if value is None else str(value)
