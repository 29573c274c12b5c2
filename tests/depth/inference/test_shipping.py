"""Exporting depth networks, by function and by command."""

import json

import numpy as np
import pytest

import bireal_plugin
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.inference.shipping import export_depth
from bireal_plugin.depth.street.scene import render_street
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import Session
from tests.depth.tiny_depth import SIZE, tiny_depth


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return tiny_depth(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module')
def exported(tiny, run_tool, tmp_path_factory):
    """The folder that the command made and filled, for another size than the config's."""
    folder = tmp_path_factory.mktemp('exported') / 'new' / 'folder'
    ended = run_tool('../depth/export.py', tiny.config, tiny.checkpoint, '--out', folder, '--shape', 40, 128)
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
    path = export_depth(real.config, real.checkpoint, 'openvino', tmp_path / 'net.xml')
    image = render_street(0, SIZE).left
    expected = Predictor(real.checkpoint, config=real.config)(image)
    np.testing.assert_allclose(Predictor(path)(image), expected, rtol=1e-3)
    with pytest.raises(InputError, match='not binary yet'):
        export_depth(real.config, real.checkpoint, 'packed', tmp_path / 'net.safetensors')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(format='onnx'), 'exported to packed or openvino'),
        (dict(format='packed', size=(16, 96)), 'at least 32 x 32'),
        (dict(format='packed', size=(96,)), 'is height and width'),
    ],
)
def test_what_cannot_be_exported_is_a_sentence_and_no_file(tiny, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        export_depth(tiny.config, tiny.checkpoint, path=tmp_path / 'net.safetensors', **options)
    assert list(tmp_path.iterdir()) == []
