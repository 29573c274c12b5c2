"""``bireal predict``: classes of images by every kind of file, as the network called by hand gives them."""

import json

import numpy as np
import pytest
import torch
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from PIL import Image
from sklearn.datasets import load_digits

from bireal_plugin import export
from bireal_plugin.commands import predict as command
from bireal_plugin.training.config import load_config
from bireal_plugin.training.recipe import build_model
from bireal_plugin.training.trained import load_trained
from tests.conftest import REPOSITORY

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


def test_a_part_of_a_network_is_refused_as_what_it_is(predict, run_tool, checkpoint, images, tmp_path):
    run_tool('export.py', checkpoint, '--part', 'backbone', '--format', 'packed', '--out', tmp_path, '--name', 'trunk')
    ended = predict(tmp_path / 'trunk.safetensors', images)
    assert (ended.status, ended.out) == (1, '')
    assert 'trunk.safetensors holds the backbone of a network alone, whose outputs are feature maps' in ended.err


def test_a_file_that_does_not_say_how_its_images_are_made_is_refused(predict, checkpoint, images, tmp_path):
    model, _ = load_trained(None, checkpoint)
    export(model, 'onnx', (1, 1, 16, 16), path=tmp_path / 'net.onnx')
    ended = predict(tmp_path / 'net.onnx', images)
    assert (ended.status, ended.out) == (1, '')
    assert 'net.onnx does not say how its images are made; export it again: bireal export' in ended.err


def test_a_config_in_the_place_of_weights_is_told_where_it_goes(predict, checkpoint, images):
    ended = predict(REPOSITORY / 'configs/bireal_r18_digits.py', checkpoint, images)
    assert (ended.status, ended.out) == (1, '')
    assert 'is a config, where the file of trained weights belongs' in ended.err
    assert '--config' in ended.err


def test_json_is_alone_on_stdout_whatever_libraries_print(predict, checkpoint, images, monkeypatch):
    def chatty(**choices):
        print_log('a line of a log', logger='current')
        print('a line of a library')
        return load_trained(**choices)

    monkeypatch.setattr(command, 'load_trained', chatty)
    ended = predict(checkpoint, images / '0.png', '--json')
    assert len(json.loads(ended.out)) == 1
    assert 'a line of a library' in ended.err


DETECTOR = """
_base_ = '{repository}/configs/detection/retinanet_bireal_r18_fpn_1x_coco.py'
model = dict(
    backbone=dict(base_channels=8, init_cfg=None, norm_cfg=dict(type='BN')),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0, max_per_img=20))
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (192, 128)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""


@pytest.fixture
def detector(tmp_path):
    """A config and a checkpoint of a small detector with random weights."""
    pytest.importorskip('mmdet')
    config, checkpoint = tmp_path / 'small.py', tmp_path / 'detector.pth'
    config.write_text(DETECTOR.format(repository=REPOSITORY))
    torch.manual_seed(0)
    torch.save(dict(state_dict=build_model(load_config(str(config))).state_dict()), checkpoint)
    return config, checkpoint


def test_boxes_are_those_of_mmdet_called_by_hand(predict, detector, tmp_path):
    config, checkpoint = detector
    pixels = np.random.default_rng(0).integers(0, 255, (96, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'photo.png')
    drawn = tmp_path / 'drawn'
    flags = ('--config', config, '--score-threshold', 0.0, '--json', '--out', drawn)
    ended = predict(checkpoint, tmp_path / 'photo.png', *flags)
    assert ended.status == 0, ended.err
    (found,) = json.loads(ended.out)

    from mmdet.apis import inference_detector
    from mmdet.datasets import CocoDataset

    model, loaded = load_trained(config, checkpoint)
    model.cfg = loaded
    with DefaultScope.overwrite_default_scope('mmdet'):
        wanted = inference_detector(model, np.ascontiguousarray(pixels[..., ::-1])).pred_instances
    order = np.argsort(-wanted.scores.numpy(), kind='stable')
    assert len(order) == len(found['boxes']) == 20
    np.testing.assert_allclose([box['score'] for box in found['boxes']], wanted.scores.numpy()[order], rtol=1e-6)
    np.testing.assert_allclose([box['corners'] for box in found['boxes']], wanted.bboxes.numpy()[order], rtol=1e-5)
    names = CocoDataset.METAINFO['classes']
    assert [box['name'] for box in found['boxes']] == [names[label] for label in wanted.labels.numpy()[order]]
    picture = np.asarray(Image.open(drawn / 'photo.png'))
    assert picture.shape == pixels.shape
    assert not np.array_equal(picture, pixels)


def test_a_drawing_is_not_replaced_unasked(predict, detector, tmp_path):
    config, checkpoint = detector
    Image.new('RGB', (64, 64)).save(tmp_path / 'photo.png')
    drawn = tmp_path / 'drawn'
    drawn.mkdir()
    (drawn / 'photo.png').write_bytes(b'mine')
    ended = predict(checkpoint, tmp_path / 'photo.png', '--config', config, '--out', drawn)
    assert (ended.status, (drawn / 'photo.png').read_bytes()) == (1, b'mine')
    assert 'photo.png exists; give another --out, --overwrite to replace it, or --skip-existing' in ended.err
