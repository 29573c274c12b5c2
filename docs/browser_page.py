"""A hook of MkDocs: builds the page of ``examples/browser`` with networks of the zoo and puts it into the site.

Without zig (``pip install ziglang``) a line stands in its place.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FOLDER = 'in_browser'  # of the site
CLASSES, DEPTH = 'bireal_r18_imagenette', 'bireal_r18_street'
ABSENT = '<!doctype html><p>This copy of the documentation was built without zig, and so without the page.</p>\n'


def page(networks: tuple[str, str] = (f'zoo://{CLASSES}', f'zoo://{DEPTH}')) -> dict[str, bytes]:
    """The files of the page by their names; of a classifier and a depth network."""
    if not find_spec('ziglang'):
        return {'index.html': ABSENT.encode()}
    with tempfile.TemporaryDirectory() as folder:
        made, site = Path(folder, 'made'), Path(folder, 'site')
        for command, network in zip((['export'], ['depth', 'export']), networks, strict=True):
            words = [sys.executable, 'bireal.py', *command, network, '--format', 'c', '--out', made]
            subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        sources = sorted(made.glob('*.c'))
        words = [sys.executable, 'examples/browser/build.py', site, *sources, '--float', CLASSES]
        subprocess.run(words, cwd=ROOT, check=True)
        return {path.name: path.read_bytes() for path in site.iterdir()}


def on_files(files: Files, config: Any) -> Files:
    """MkDocs asks with every file that it found."""
    for name, content in page().items():
        files.append(File.generated(config, f'{FOLDER}/{name}', content=content))
    return files
