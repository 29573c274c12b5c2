"""README, changelog, citation, metafiles and the drawing of the layers fit the tree beside them."""

import re
import runpy
from pathlib import Path

import pytest
import yaml
from markdown.extensions.toc import slugify

import bireal_plugin
from bireal_plugin.version import __version__
from tests.test_layers import LAYERS

ROOT = Path(__file__).parents[2]
CONFIG_FOLDERS = [path.parent for path in sorted((ROOT / 'configs').rglob('metafile.yml'))]
CODE = re.compile(r'^```.*?^```$', re.M | re.S)


def headings(path):
    text = CODE.sub('', path.read_text())
    return {slugify(re.sub('[`*]', '', title), '-') for title in re.findall(r'^#+ (.*)$', text, re.M)}


@pytest.mark.parametrize('name', ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'])
def test_links_lead_somewhere(name):
    for link in re.findall(r'\]\(([^)]+)\)', CODE.sub('', (ROOT / name).read_text())):
        path, _, anchor = link.partition('#')
        if '://' not in link:
            assert (ROOT / path).is_file(), link
            assert not anchor or anchor in headings(ROOT / path), link


def test_prose_of_the_readme_is_120_characters_wide():
    lines = CODE.sub('', (ROOT / 'README.md').read_text()).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith(('|', '!'))] == []


def test_new_paths_of_the_changelog_exist():
    paths = re.findall(r'^\| `[^`]+\.py` \| `([^`]+\.py)` \|$', (ROOT / 'CHANGELOG.md').read_text(), re.M)
    assert len(paths) > 100
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_the_citation_has_the_version():
    assert str(yaml.safe_load((ROOT / 'CITATION.cff').read_text())['version']) == __version__


@pytest.mark.parametrize('folder', CONFIG_FOLDERS, ids=lambda folder: folder.name)
def test_a_metafile_lists_the_configs_of_its_folder(folder):
    content = yaml.safe_load((folder / 'metafile.yml').read_text())
    listed = [model['Config'] for model in content['Models']]
    assert sorted(listed) == sorted(str(path.relative_to(ROOT)) for path in folder.glob('*.py'))
    assert {model['In Collection'] for model in content['Models']} == {each['Name'] for each in content['Collections']}
    assert all((ROOT / each['README']).is_file() for each in content['Collections'])


def test_the_model_index_lists_the_metafiles():
    listed = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert sorted(listed) == sorted(str(folder.relative_to(ROOT) / 'metafile.yml') for folder in CONFIG_FOLDERS)


def test_every_public_name_is_on_the_page_of_the_api():
    shown = re.findall(r'^::: (\S+)$', (ROOT / 'docs' / 'api.md').read_text(), re.M)
    public = {getattr(bireal_plugin, name) for name in bireal_plugin.__all__ if name != '__version__'}
    assert {f'{item.__module__}.{item.__qualname__}' for item in public} <= set(shown)


def test_the_drawing_shows_the_layers_that_are_asserted():
    drawing = runpy.run_path(str(ROOT / 'docs' / 'layers.py'))['drawing']
    assert (ROOT / 'docs' / 'layers.svg').read_text() == drawing(LAYERS), 'run python docs/layers.py'
