"""The hook that puts the page of ``examples/browser`` into the documentation."""

import importlib.util
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HOOK = ROOT / 'docs' / 'browser_page.py'
pytest.importorskip('mkdocs', reason="needs the extra 'docs'")

from mkdocs.commands.build import build  # noqa: E402
from mkdocs.config import load_config  # noqa: E402


def test_mkdocs_calls_it_and_a_page_links_there():
    told = (ROOT / 'mkdocs.yml').read_text().partition('markdown_extensions')[0]
    assert yaml.safe_load(told)['hooks'] == [str(HOOK.relative_to(ROOT))]
    folder = runpy.run_path(str(HOOK))['FOLDER']
    text = (ROOT / 'docs' / 'browser.md').read_text()
    assert f'({folder}/index.html)' in text
    assert f'src="../{folder}/index.html"' in text


def test_without_zig_a_line_stands_in_its_place(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *rest: name != 'ziglang' and find_spec(name, *rest))
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'index.md').write_text('[the page](in_browser/index.html)')
    config = tmp_path / 'mkdocs.yml'
    config.write_text(yaml.safe_dump(dict(site_name='site', hooks=[str(HOOK)], strict=True)))
    build(load_config(str(config)))
    (only,) = (tmp_path / 'site' / 'in_browser').iterdir()
    assert 'built without zig' in only.read_text()
