"""Numbers in C: literals, and tables of constants that stay in flash."""

from __future__ import annotations

import numpy as np

from bireal_plugin.export.c.workspace import ALIGNMENT

WORD = 8  # bytes
LINE = 6  # words in a line of text


def number(value: float) -> str:
    """A float32 literal that is read as exactly this number."""
    text = str(np.float32(value))
    return f'{text}f' if '.' in text or 'e' in text else f'{text}.0f'


class Constants:
    """Tables of float32 or uint32, one for all equal ones; ``texts`` are their definitions.

    The words of both are written as integers, which compilers read fastest, two in one.

    Args:
        prefix: of their names.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.names: dict[bytes, str] = {}
        self.texts: list[str] = []

    def __call__(self, array: np.ndarray) -> str:
        """The expression of a pointer to the numbers of ``array``."""
        data = np.ascontiguousarray(array).tobytes()
        if data not in self.names:
            self.names[data] = f'{self.prefix}_{len(self.names)}'
            words = np.frombuffer(data + bytes(-len(data) % WORD), '<u8')
            digits = words.astype('>u8').tobytes().hex()
            listed = [f'0x{digits[place : place + 2 * WORD]}' for place in range(0, len(digits), 2 * WORD)]
            lines = [','.join(listed[place : place + LINE]) for place in range(0, len(listed), LINE)]
            size, kind = len(words), 'words' if array.dtype == np.uint32 else 'floats'
            union = f'uint64_t all[{size}]; uint32_t words[{2 * size}]; float floats[{2 * size}];'
            self.texts.append(f'/* {len(data) // 4} {kind} */')
            self.texts.append(f'static const _Alignas({ALIGNMENT}) union {{ {union} }} {self.names[data]} = {{{{')
            self.texts += [*(f'{line},' for line in lines[:-1]), f'{lines[-1]}}}}};']
        return f'{self.names[data]}.{"words" if array.dtype == np.uint32 else "floats"}'
