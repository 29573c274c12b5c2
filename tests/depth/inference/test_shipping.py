"""Exporting depth networks, by function and by command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import bireal_plugin
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.inference.shipping import load_depth_network
from bireal_plugin.depth.street.scene import render_street
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import Session
from bireal_plugin.shipping import artefacts
from bireal_plugin.shipping.ship import Order, ship
from tests.depth.tiny_depth import SIZE, file_of, tiny_depth


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return tiny_depth(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module')
def exported(tiny, run_tool, tmp_path_factory):
    """The folder that the command made and filled, for another size than the config's."""
    folder = tmp_path_factory.mktemp('exported') / 'new' / 'folder'
    ended = run_tool('../depth/export.py', tiny.config, tiny.checkpoint, '--out', folder, '--size', 40, 128)
    assert ended.status == 0, ended.err
    return folder


def test_the_command_writes_both_formats_for_the_size_given(exported):
    assert {path.name for path in exported.iterdir()} == {'tiny.safetensors', 'tiny.xml', 'tiny.bin'}
    assert Predictor(exported / 'tiny.xml').size == (40, 128)
    assert Predictor(exported / 'tiny.safetensors').size == (40, 128)


def test_the_command_replaces_nothing(exported, tiny, run_tool):
    before = {path: path.read_bytes() for path in exported.iterdir()}
    ended = run_tool('../depth/export.py', tiny.config, tiny.checkpoint, '--out', exported)
    assert ended.status == 1
    assert 'tiny.safetensors exists' in ended.err
    assert {path: path.read_bytes() for path in exported.iterdir()} == before


def test_an_openvino_model_says_how_its_images_are_made(exported):
    config = json.loads(Session(exported / 'tiny.xml').metadata['config'])
    assert config['size'] == [40, 128]
    np.testing.assert_allclose(config['mean'], [123.675, 116.28, 103.53])
    np.testing.assert_allclose(config['std'], [58.395, 57.12, 57.375])
    assert config['model']['backbone']['depth'] == 18


def test_a_packed_file_loads_by_one_call(exported):
    assert bireal_plugin.load(exported / 'tiny.safetensors').size == (40, 128)


def test_a_real_network_is_written_for_openvino_as_it_is(tmp_path):
    real = tiny_depth(tmp_path, real=True)
    image = render_street(0, SIZE).left
    expected = Predictor(real.checkpoint, config=real.config)(image)
    np.testing.assert_allclose(Predictor(file_of(real, 'openvino', tmp_path))(image), expected, rtol=1e-3)
    order = Order(['packed'], ['f32'], tmp_path, 'net')
    _, problems, _ = ship(order, lambda: load_depth_network(real.config, real.checkpoint))
    assert ['not binary yet' in problem for problem in problems] == [True]


@pytest.mark.parametrize(('size', 'message'), [((16, 96), 'at least 32 x 32'), ((96,), 'is height and width')])
def test_a_size_that_cannot_be_is_a_sentence(tiny, size, message):
    with pytest.raises(InputError, match=message):
        load_depth_network(tiny.config, tiny.checkpoint, size=size)


def test_int8_is_calibrated_and_every_file_is_verified(tiny, run_tool, tmp_path):
    """On rendered streets in a folder, and on the config's own test data."""
    pytest.importorskip('nncf')
    (tmp_path / 'streets').mkdir()
    for i in range(3):
        Image.fromarray(render_street(i, SIZE).left).save(tmp_path / 'streets' / f'{i}.png')
    folder, streets = tmp_path / 'out', tmp_path / 'streets'
    options = ['--format', 'packed,openvino', '--real-layers', 'f32,int8', '--calibrate', streets, '--out', folder]
    ended = run_tool('../depth/export.py', tiny.config, tiny.checkpoint, *options, '--verify', streets)
    assert ended.out.count(' verified') == 4, ended.out + ended.err
    assert {path.name for path in folder.iterdir()} == {
        *('tiny.safetensors', 'tiny_int8.safetensors', 'tiny.xml', 'tiny.bin', 'tiny_int8.xml', 'tiny_int8.bin')
    }
    again = run_tool('../depth/export.py', tiny.config, tiny.checkpoint, '--out', folder, '--overwrite', '--verify')
    assert again.out.count(' verified') == 2, again.out + again.err


def test_a_file_of_another_network_is_marked(tiny, tmp_path, monkeypatch):
    other = torch.load(tiny.checkpoint, weights_only=True)
    other['state_dict']['backbone.conv1.weight'] *= -1
    torch.save(other, tmp_path / 'other.pth')
    wrong = load_depth_network(tiny.config, tmp_path / 'other.pth').model
    honest = artefacts.write
    monkeypatch.setattr(artefacts, 'write', lambda _, *arguments, **options: honest(wrong, *arguments, **options))
    table, problems, _ = ship(
        Order(['packed'], ['f32'], tmp_path, 'net', verify=True),
        lambda: load_depth_network(tiny.config, tiny.checkpoint),
    )
    assert 'FAILED' in table
    assert (tmp_path / 'net.safetensors.unverified').read_text().splitlines() == problems
