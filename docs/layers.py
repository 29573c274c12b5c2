"""Draws the layers of the package into ``layers.svg``: their order from the test that asserts it, one line of each.

python docs/layers.py
"""

from __future__ import annotations

import ast
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'bireal_plugin'
WIDTH, ROW, LEFT, LONGEST = 920, 38, 160, 20
NOT_A_ROOM = {
    '__init__': ('import bireal_plugin', 'The public names'),
    'tools': ('tools/, depth/', 'Scripts of the repository over the same functions'),
}


def row(rooms: list[str]) -> tuple[str, str]:
    """Names of a layer, and the first line of its first docstring where there is space for it."""
    if rooms[0] in NOT_A_ROOM:
        return NOT_A_ROOM[rooms[0]]
    folders = [room for room in rooms if (PACKAGE / room).is_dir()]
    title = ', '.join(f'{room}/' if room in folders else f'{room}.py' for room in rooms)
    file = PACKAGE / folders[0] / '__init__.py' if folders else PACKAGE / f'{rooms[0]}.py'
    sentence = (ast.get_docstring(ast.parse(file.read_text())) or '').partition('\n')[0]
    return title, sentence.replace('`', '') if len(title) <= LONGEST else ''


def drawing(layers: str) -> str:
    """SVG of ``layers``, one a line from the ground up: the ground is the lowest row."""
    floors = [line.split() for line in layers.splitlines() if line.strip()]
    height = ROW * len(floors) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, rooms in enumerate(reversed(floors)):
        title, sentence = row(rooms)
        y, shade = ROW * number + 7, 250 - round(60 * number / len(floors))
        parts += [
            f'<rect x="8" y="{y}" width="{WIDTH - 16}" height="{ROW - 6}" rx="5" stroke="#8a9bb0" '
            f'fill="rgb({shade - 8},{shade},252)"/>',
            f'<text x="20" y="{y + 21}" font-size="14" font-weight="bold" fill="#1b2a3a">{escape(title)}</text>',
            f'<text x="{LEFT + 30}" y="{y + 21}" font-size="12" fill="#1b2a3a">{escape(sentence)}</text>',
        ]
    return '\n'.join([*parts, '</svg>', ''])


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    from tests.test_layers import LAYERS

    (ROOT / 'docs' / 'layers.svg').write_text(drawing(LAYERS))
