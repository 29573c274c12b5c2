"""Draws the layers of the package into ``layers.svg``: their order from the test that asserts it, one line of each.

python docs/layers.py
"""

from __future__ import annotations

import ast
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH, ROW, LEFT = 900, 40, 150


def sentence(name: str) -> str:
    """First line of a package's docstring."""
    text = (ROOT / 'bireal_plugin' / name / '__init__.py').read_text()
    return (ast.get_docstring(ast.parse(text)) or '').partition('\n')[0]


def drawing(layers: list[str]) -> str:
    """SVG of ``layers``, given from the ground up: the ground is the lowest row."""
    height = ROW * len(layers) + 10
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, name in enumerate(reversed(layers)):
        y = ROW * number + 7
        shade = 250 - round(60 * number / len(layers))
        rows += [
            f'<rect x="8" y="{y}" width="{WIDTH - 16}" height="{ROW - 6}" rx="5" stroke="#8a9bb0" '
            f'fill="rgb({shade - 8},{shade},252)"/>',
            f'<text x="20" y="{y + 22}" font-size="15" font-weight="bold" fill="#1b2a3a">{name}/</text>',
            f'<text x="{LEFT}" y="{y + 22}" font-size="12.5" fill="#1b2a3a">{escape(sentence(name))}</text>',
        ]
    return '\n'.join([*rows, '</svg>', ''])


if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    from tests.test_layers import LAYERS

    (ROOT / 'docs' / 'layers.svg').write_text(drawing(LAYERS))
