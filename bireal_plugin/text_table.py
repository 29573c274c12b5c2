"""Tables of what was measured, for a terminal and for Markdown pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from tabulate import tabulate

Rows = Sequence[Mapping[str, Any]]


def text_table(rows: Rows, *, left: Collection[str] | None = None, form: str = 'simple') -> str:
    """Plain-text table with a rule below the head: a column for each key of ``rows``, in the order they first appear.

    Floats below 1, such as losses, show four decimals, others two; a missing cell or None is blank.

    Args:
        left: columns aligned left; the others are aligned right. By default those without an int or a float.
        form: one of tabulate's formats.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if left is None:
        left = [key for key in columns if not any(isinstance(row.get(key), (int, float)) for row in rows)]
    cells = [[_text(row.get(key)) for key in columns] for row in rows]
    sides = ['left' if key in left else 'right' for key in columns]
    return tabulate(cells, columns, form, colalign=sides if rows else None, disable_numparse=True)


markdown_table = partial(text_table, form='pipe')


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f'{cell:.4f}' if abs(cell) < 1 else f'{cell:.2f}'
    return '' if cell is None else str(cell)
