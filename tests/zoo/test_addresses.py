"""``zoo://NAME`` wherever a file of a network is taken, and what is taken where none is given."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bireal_plugin
from bireal_plugin.checkpoints.loading import fetch_checkpoint
from bireal_plugin.errors import InputError
from bireal_plugin.zoo import FOLDER, PHOTOGRAPHS, STREETS, WEIGHTS, local_file, names

DIGITS = 'zoo://bireal_r18_digits'


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """``photo.jpg`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 150, 3), np.uint8)
    Image.fromarray(pixels).save('photo.jpg')
    Image.fromarray(pixels[:32, :32]).save('small.png')
    return Path('photo.jpg')


def test_an_address_is_a_file_of_the_package_and_a_path_is_itself():
    assert local_file(DIGITS) == FOLDER / 'bireal_r18_digits' / WEIGHTS
    assert local_file('net.xml') == Path('net.xml')


@pytest.mark.parametrize('read', [bireal_plugin.load, bireal_plugin.Session, bireal_plugin.inspect, fetch_checkpoint])
def test_an_unknown_name_is_answered_with_the_names_that_there_are(read):
    known = ', '.join(f'zoo://{name}' for name in names())
    with pytest.raises(InputError) as told:
        read('zoo://bireal_r19_digits')
    assert str(told.value) == f'there is no zoo://bireal_r19_digits; there are {known}'


def test_a_training_state_that_is_not_kept_is_answered_with_those_that_are():
    with pytest.raises(InputError, match=rf'^{DIGITS} comes without the weights of its training; there are zoo://'):
        fetch_checkpoint(f'{DIGITS}/training')


def test_library_functions_take_the_address():
    images = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
    with torch.no_grad():
        wanted = bireal_plugin.load(DIGITS)(torch.from_numpy(images)).numpy()
    with bireal_plugin.Session(DIGITS) as session:
        np.testing.assert_array_equal(session(images)[0], wanted)
    assert bireal_plugin.inspect(DIGITS).file_bytes == (FOLDER / 'bireal_r18_digits' / WEIGHTS).stat().st_size


@pytest.mark.slow
def test_an_exported_zoo_network_is_the_same_and_says_how_its_images_are_made(run_command, photo):
    photo.unlink()  # it has another size than the digits
    ended = run_command('export', DIGITS, '--format', 'onnx', 'packed', '--verify', '.', '--images', 1)
    assert ended.status == 0, ended.err
    found = [
        json.loads(run_command('predict', file, 'small.png', '--json').out)[0]['classes']
        for file in (DIGITS, 'export/bireal_r18_digits.onnx', 'export/bireal_r18_digits.safetensors')
    ]
    assert [guess['name'] for guess in found[0]] == [guess['name'] for guess in found[1]]
    assert found[0] == found[2]


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--verify'], f'{DIGITS} names no test data; give a folder of images: --verify DIR'),
        (['--real-layers', 'int8'], f'c int8: {DIGITS} names no train data; give a folder of images: --calibrate DIR'),
    ],
)
def test_images_that_no_packed_file_names_are_asked_for(run_command, tmp_path, options, sentence):
    ended = run_command('export', DIGITS, '--format', 'c', *options, '--out', tmp_path / 'out')
    assert (ended.status, ended.err) == (1, f'error: {sentence}\n')
    assert not list(tmp_path.rglob('*.c'))


def test_choices_of_trained_weights_are_refused(run_command):
    ended = run_command('export', DIGITS, '--stage', 'bn')
    assert ended.err == f'error: {DIGITS} is a packed network, which needs no --stage; leave it out\n'


@pytest.mark.slow
def test_a_zoo_network_is_timed(run_command):
    ended = run_command('benchmark', DIGITS, '--engines', 'torch', '--rounds', 1, '--repeats', 1, '--warm-up', 1)
    assert ended.status == 0, ended.err
    assert 'bireal_r18_digits' in ended.out


def test_depth_without_a_checkpoint_is_by_streets_and_says_so(run_command, photo):
    ended = run_command('depth infer', photo)
    assert ended.status == 0, ended.err
    assert f'no --checkpoint, so {STREETS}: trained on rendered streets, and not to be trusted on' in ended.err
    assert Image.open('depth_maps/photo_colour.png').height == 96


def test_classes_without_a_file_are_those_of_imagenette_and_are_named(run_command, photo):
    alone, named = run_command('predict', photo, '--json'), run_command('predict', PHOTOGRAPHS, photo, '--json')
    assert alone.status == 0, alone.err
    assert alone.out == named.out
    names = ('tench', 'English springer', 'cassette player', 'chain saw', 'church')
    names += ('French horn', 'garbage truck', 'gas pump', 'golf ball', 'parachute')
    assert f'note: {PHOTOGRAPHS} knows {", ".join(names)}, and nothing else' in alone.err
    both = json.loads(run_command('predict', photo, 'small.png', '--json').out)
    assert [Path(each['file']).name for each in both] == ['photo.jpg', 'small.png']
