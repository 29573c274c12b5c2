"""Positions inside a flatbuffer: its packages read and write fields, and do not say where they lie."""

from __future__ import annotations

from typing import Any


def field_position(table: Any, field: int) -> int:
    """Byte position of a field in the buffer of a table that the schema's generated code read.

    Args:
        field: offset in the table's vtable: 4 for its first field, 6 for the second, ...
    """
    inner = table._tab
    return int(inner.Pos + inner.Offset(field))


def byte_vector(builder: Any, data: bytes, *, alignment: int) -> int:
    """Append ``data`` to the buffer at an aligned place; the vector's offset. ``CreateByteVector`` cannot align."""
    builder.StartVector(1, len(data), alignment)
    builder.head = builder.head - len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return builder.EndVector()
