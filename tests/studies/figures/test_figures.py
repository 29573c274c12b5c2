"""Pictures: what is in them, and that the same numbers give the same file."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bireal_plugin.registry import SURROGATES
from bireal_plugin.studies.ablation.figure import draw_ablation
from bireal_plugin.studies.ablation.paper_table import ALL_CELLS, PAPER_TOP1
from bireal_plugin.studies.ablation.report import Row
from bireal_plugin.studies.figures.activations import Panel, draw_activations
from bireal_plugin.studies.figures.curves import Curves, draw_curves
from bireal_plugin.studies.figures.feature_maps import FeatureMap, draw_feature_maps
from bireal_plugin.studies.figures.surrogates import area_to_sign, draw_surrogates
from bireal_plugin.studies.figures.weights import LayerWeights, draw_weights

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=500)
SIGNS = np.where(VALUES < 0, -1, 1)
LAYERS = [LayerWeights(f'layer1.{i}.conv1', VALUES, SIGNS, 0.1 * SIGNS, 'Sign') for i in range(5)]
MAPS = [FeatureMap(f'layer1.{i}.conv1', VALUES[:64].reshape(8, 8), VALUES[64:128].reshape(8, 8), 9, 81) for i in (0, 1)]
PANELS = [Panel(kind, kind, {'layer1.0.conv1': VALUES}) for kind in ('relu', 'leaky_clip', 'clip', 'sign')]
CURVES = [
    Curves('float', [(1.0, 2.0), (2.0, 1.0)], [(1.0, 0.1), (2.0, 0.1)], [(2.0, 50.0)]),
    Curves('binary', [(1.0, 0.5)], [(1.0, 0.01)], [(1.0, 60.0)]),
]
ROWS = [Row(cell, seed, PAPER_TOP1[cell] + seed, 1.0, '') for cell in ALL_CELLS for seed in range(2)]

DRAWINGS = {
    'ablation': (lambda stem: draw_ablation(ROWS, stem, title='a.py'), ['Bi-Real', 'Res', 'Plain', 'ApproxSign']),
    'surrogates': (draw_surrogates, ['STE: area 1', 'ApproxSign: area 2/3', 'ThirdOrder: area 1/2']),
    'weights': (
        lambda stem: draw_weights(LAYERS, stem, title='x'),
        [f'{layer.layer}, {half}' for layer in LAYERS for half in ('sign', 'magnitude-aware')],
    ),
    'feature maps': (
        lambda stem: draw_feature_maps(MAPS, stem, title='x'),
        ['branch + shortcut', '9 values', '81 values'],
    ),
    'activations': (
        lambda stem: draw_activations(PANELS, stem, images=8),
        ['ReLU (stage relu)', 'leaky clip', 'clip', 'sign', 'layer1.0.conv1'],
    ),
    'curves': (lambda stem: draw_curves(CURVES, stem, title='w'), ['float', 'binary', 'test top-1 (%)']),
}


def texts(svg: Path) -> set[str]:
    """The texts in a picture; matplotlib writes each as a comment beside its glyphs."""
    return set(re.findall(r'<!-- (.*?) -->', svg.read_text()))


@pytest.mark.parametrize('name', DRAWINGS)
def test_labels(name, tmp_path):
    draw, expected = DRAWINGS[name]
    png, svg = draw(tmp_path / name)
    assert (png, svg) == (tmp_path / f'{name}.png', tmp_path / f'{name}.svg')
    assert set(expected) <= texts(svg)
    assert Image.open(png).width == 1200


@pytest.mark.parametrize('name', DRAWINGS)
def test_the_same_numbers_give_the_same_files(name, tmp_path):
    draw, _ = DRAWINGS[name]
    first, second = draw(tmp_path / 'a' / name), draw(tmp_path / 'b' / name)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_curves_without_accuracy_have_no_such_panel(tmp_path):
    _, svg = draw_curves([Curves('x', [(1.0, 1.0)], [(1.0, 0.1)], [])], tmp_path / 'curves', title='x')
    assert 'test top-1 (%)' not in texts(svg)


def test_areas_to_sign_are_those_of_fig_7():
    areas = {name: area_to_sign(SURROGATES.build(name)) for name in SURROGATES.classes}
    assert areas == {'STE': 1, 'ApproxSign': Fraction(2, 3), 'ThirdOrder': Fraction(1, 2)}
