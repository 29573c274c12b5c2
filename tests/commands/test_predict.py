"""``bireal predict``: classes of images by every kind of file, as the network called by hand gives them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from bireal_plugin.training.trained import load_trained

FORMATS = {'packed': '.safetensors', 'onnx': '.onnx', 'openvino': '.xml'}


@pytest.fixture(scope='module')
def checkpoint(finished_run):
    row = next(row for row in finished_run.results if row['name'] == 'bn')
    return finished_run.folder / row['checkpoint']


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Three digits as 16 x 16 PNG files."""
    folder = tmp_path_factory.mktemp('digits')
    for i, digit in enumerate(load_digits().images[:3]):
        pixels = np.rint(digit * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR).save(folder / f'{i}.png')
    return folder


@pytest.fixture(scope='module')
def exported(run_tool, checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp('exported')
    ended = run_tool('export.py', checkpoint, '--format', *FORMATS, '--out', folder, '--name', 'net')
    assert ended.status == 0, ended.err
    return {name: folder / f'net{suffix}' for name, suffix in FORMATS.items()}


@pytest.fixture
def predict(run_command):
    return lambda *arguments: run_command('predict', *arguments)


@pytest.fixture(scope='module')
def by_hand(checkpoint, images):
    """Probabilities (3, 10) of the checkpoint's network, called without any of the command's code."""
    model, _ = load_trained(None, checkpoint)
    batch = np.stack([np.asarray(Image.open(images / f'{i}.png'), dtype=np.float32) for i in range(3)])
    with torch.no_grad():
        return model(torch.from_numpy((batch[:, None] - 78) / 96)).softmax(1).numpy()


@pytest.mark.parametrize('kind', ['checkpoint', *FORMATS])
def test_classes_and_probabilities_are_those_of_the_network(predict, checkpoint, exported, images, by_hand, kind):
    ended = predict({**exported, 'checkpoint': checkpoint}[kind], images, '--json')
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert [entry['file'] for entry in found] == [str(images / f'{i}.png') for i in range(3)]
    for entry, probabilities in zip(found, by_hand, strict=True):
        best = np.argsort(-probabilities, kind='stable')[:5]
        assert [guess['index'] for guess in entry['classes']] == best.tolist()
        assert [guess['name'] for guess in entry['classes']] == [str(i) for i in best]
        np.testing.assert_allclose([guess['probability'] for guess in entry['classes']], probabilities[best], atol=1e-4)


def test_a_broken_image_costs_itself_alone(predict, checkpoint, images, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'nothing')
    ended = predict(checkpoint, tmp_path / 'broken.png', images / '0.png', '--top', 1)
    assert ended.status == 1
    assert [line for line in ended.err.splitlines() if line.startswith('error')] == [
        f'error: {tmp_path}/broken.png cannot be decoded as an image: it is truncated, damaged or something else'
    ]
    assert ended.out.splitlines()[0] == str(images / '0.png')
    assert len(ended.out.splitlines()) == 2


def test_an_image_of_another_size_is_not_stretched_in_silence(predict, checkpoint, tmp_path):
    Image.new('L', (20, 10)).save(tmp_path / 'wide.png')
    ended = predict(checkpoint, tmp_path / 'wide.png')
    assert (ended.status, ended.out) == (1, '')
    assert 'wide.png has 10 x 20 px and the network takes 16 x 16' in ended.err


def test_names_of_a_file_replace_the_networks(predict, exported, images, tmp_path):
    (tmp_path / 'names.txt').write_text('\n'.join(f'digit {i}' for i in range(10)))
    ended = predict(exported['packed'], images / '0.png', '--classes', tmp_path / 'names.txt', '--top', 1)
    assert ended.out.splitlines()[1].partition('%')[2].strip() == 'digit 0'
    (tmp_path / 'names.txt').write_text('one\ntwo')
    ended = predict(exported['packed'], images / '0.png', '--classes', tmp_path / 'names.txt')
    assert (ended.status, 'has 10 classes, but there are 2 names' in ended.err) == (1, True)


def test_a_file_that_does_not_say_how_its_images_are_made_is_refused(predict, run_tool, checkpoint, images, tmp_path):
    run_tool('export.py', checkpoint, '--part', 'backbone', '--format', 'packed', '--out', tmp_path, '--name', 'trunk')
    ended = predict(tmp_path / 'trunk.safetensors', images)
    assert (ended.status, ended.out) == (1, '')
    assert 'trunk.safetensors does not say how its images are made; export it again: bireal export' in ended.err
