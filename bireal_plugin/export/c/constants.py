"""Numbers in C: literals, and tables of constants that stay in flash."""

from __future__ import annotations

import numpy as np

from bireal_plugin.export.c.workspace import ALIGNMENT

WORD = 8  # bytes
TYPES = {'float32': 'float', 'uint32': 'uint32_t', 'int32': 'int32_t', 'int8': 'int8_t', 'uint16': 'br_map'}
LINE = 6  # words in a line of text


def number(value: float) -> str:
    """A float32 literal that is read as exactly this number."""
    text = str(np.float32(value))
    return f'{text}f' if '.' in text or 'e' in text else f'{text}.0f'


class Constants:
    """Tables of numbers, one for all equal ones; ``texts`` are their definitions.

    All are written as integers of 64 bits, which compilers read fastest.

    Args:
        prefix: of their names.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.names: dict[tuple[str, bytes], str] = {}
        self.texts: list[str] = []

    def __call__(self, array: np.ndarray) -> str:
        """The expression of a pointer to the numbers of an array of float32, uint32, int32 or int8; uint16 are 16-bit
        numbers of a feature map.
        """
        kind, data = TYPES[array.dtype.name], np.ascontiguousarray(array).tobytes()
        if (kind, data) not in self.names:
            name = self.names[kind, data] = f'{self.prefix}{len(self.names)}'
            words = np.frombuffer(data + bytes(-len(data) % WORD), '<u8')
            digits = words.astype('>u8').tobytes().hex()
            listed = [f'0x{digits[place : place + 2 * WORD]}' for place in range(0, len(digits), 2 * WORD)]
            lines = [','.join(listed[place : place + LINE]) for place in range(0, len(listed), LINE)]
            size = len(words) * WORD // array.itemsize
            union = f'union {{ uint64_t words[{len(words)}]; {kind} numbers[{size}]; }}'
            self.texts.append(f'static const _Alignas({ALIGNMENT}) {union} {name} = {{{{')
            self.texts += [*(f'{line},' for line in lines[:-1]), f'{lines[-1]}}}}};']
        return f'{self.names[kind, data]}.numbers'
