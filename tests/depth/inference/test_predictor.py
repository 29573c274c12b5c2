"""Predictions from every kind of file, against the network called by hand."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

from bireal_plugin.checkpoints.file import Origin
from bireal_plugin.depth.inference.predictor import Predictor, flip_averaged
from bireal_plugin.depth.inference.shipping import load_depth_network
from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.depth.street.scene import render_street
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import export
from bireal_plugin.training.config import load_config
from tests.depth.tiny_depth import SIZE, file_of, tiny_depth
from tests.export.c.compilers import needs_compiler

EXPORTED = ['packed', 'openvino', pytest.param('c', marks=needs_compiler)]
IMAGE = render_street(0, (90, 250)).left  # no side divides, and neither is the network's


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return tiny_depth(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module')
def shipped(tiny, tmp_path_factory):
    """The network as a file of a format."""
    folder = tmp_path_factory.mktemp('shipped')
    return cache(lambda format: file_of(tiny, format, folder))


def by_hand(tiny, image, size=SIZE):
    """Resize, normalise, run, resize back and scale."""
    model = MODELS.build(load_config(str(tiny.config)).model).eval()
    model.load_state_dict(torch.load(tiny.checkpoint, weights_only=True)['state_dict'])
    pixels = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    pixels = (pixels - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    with torch.no_grad():
        disparity = model(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None])[0, 0].numpy()
    return cv2.resize(disparity, image.shape[1::-1]) * image.shape[1] / size[1]


def test_a_checkpoint_predicts_what_its_network_computes(tiny):
    expected = by_hand(tiny, IMAGE)
    assert expected.std() > 1  # the random network makes a map with something in it
    np.testing.assert_allclose(Predictor(tiny.checkpoint, config=tiny.config)(IMAGE), expected, rtol=1e-4)


def test_three_lines_give_metres(tiny, shipped, tmp_path):
    file, photo = shipped('packed'), tmp_path / 'photo.png'
    Image.fromarray(IMAGE).save(photo)
    lines = (
        'from bireal_plugin.depth import Predictor\n'
        'predictor = Predictor(file)\n'
        'metres = predictor.metres(photo, focal=150, baseline=0.5327)\n'
    )
    told = dict(file=file, photo=photo)
    exec(lines, told)
    disparity = by_hand(tiny, IMAGE)
    assert told['metres'].shape == IMAGE.shape[:2]
    expected = np.where(disparity > 0, 150 * 0.5327 / disparity, np.inf)
    near = expected < 80
    assert near.mean() > 0.1
    assert np.median(abs(told['metres'][near] / expected[near] - 1)) < 1e-4


@pytest.mark.parametrize('format', EXPORTED)
def test_an_exported_file_predicts_what_the_checkpoint_does(tiny, shipped, format):
    disparity = Predictor(shipped(format), threads=1)(IMAGE)
    # Where a sum is next to zero, its sign may differ.
    assert np.median(abs(disparity / by_hand(tiny, IMAGE) - 1)) < 1e-4


@pytest.mark.parametrize('format', [*EXPORTED, 'onnx', 'qonnx', 'tflite'])
def test_an_exported_file_knows_its_size_and_the_pairs_it_was_trained_on(shipped, format):
    for package in dict(onnx=['onnxscript', 'onnxruntime'], qonnx=['qonnx'], tflite=['tflite']).get(format, []):
        pytest.importorskip(package)
    predictor = Predictor(shipped(format))
    assert predictor.size == SIZE
    assert predictor.trained_on == StreetPairs('train', 1, SIZE).trained_on
    assert predictor.baseline == 0.54


def test_metres_have_the_baseline_of_training(shipped):
    predictor = Predictor(shipped('packed'))
    np.testing.assert_array_equal(predictor.metres(IMAGE, focal=150), predictor.metres(IMAGE, focal=150, baseline=0.54))


def test_metres_without_a_known_baseline_ask_for_it(tiny, tmp_path):
    torch.save(dict(state_dict=torch.load(tiny.checkpoint, weights_only=True)['state_dict']), tmp_path / 'foreign.pth')
    predictor = Predictor(tmp_path / 'foreign.pth', config=tiny.config)
    with pytest.raises(
        InputError, match=r'foreign\.pth does not say the baseline of its training pairs; give --baseline'
    ):
        predictor.metres(IMAGE, focal=150)
    assert predictor.metres(IMAGE, focal=150, baseline=0.5).shape == IMAGE.shape[:2]


@pytest.mark.parametrize('threads', [None, 1])
@pytest.mark.parametrize('format', [None, *EXPORTED])
def test_eight_threads_get_the_answers_of_one(tiny, shipped, format, threads):
    network = (
        dict(checkpoint=tiny.checkpoint, config=tiny.config) if format is None else dict(checkpoint=shipped(format))
    )
    predictor = Predictor(**network, threads=threads)
    images = [render_street(seed, (40 + 4 * seed, 120)).left for seed in range(8)]
    expected = [predictor(image) for image in images]
    before = torch.get_num_threads()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(predictor, images * 25))  # of which half would be wrong if calls shared their memory
    for place, disparity in enumerate(found):
        np.testing.assert_array_equal(disparity, expected[place % 8])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize('format', [None, *EXPORTED])
def test_a_predictor_is_pickled_as_its_file(tiny, shipped, format):
    network = (
        dict(checkpoint=tiny.checkpoint, config=tiny.config) if format is None else dict(checkpoint=shipped(format))
    )
    predictor = Predictor(**network, threads=1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(IMAGE), predictor(IMAGE))


def test_another_size_than_that_of_training_is_warned_of(tiny, shipped, capsys):
    Predictor(shipped('packed'))
    assert capsys.readouterr().err == ''
    Predictor(shipped('packed'), size=(64, 192))
    assert 'net.safetensors was trained at 32 x 96 and sees images of 64 x 192' in capsys.readouterr().err
    load_depth_network(tiny.config, tiny.checkpoint, size=(64, 192))
    assert 'tiny.pth was trained at 32 x 96 and sees images of 64 x 192' in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_refused_unless_allowed(tiny, tmp_path):
    config, content = tmp_path / 'other.py', torch.load(tiny.checkpoint, weights_only=True)
    config.write_text(
        tiny.config.read_text().replace('num_stages=2', "num_stages=2, activation='clip', weights='real'")
    )
    origin = Origin.of_run(load_config(str(tiny.config)).to_dict(), str(tiny.config))
    torch.save(dict(content, meta=content['meta'] | origin.as_meta()), tmp_path / 'known.pth')
    assert Predictor(tmp_path / 'known.pth').size == SIZE  # by the config that it carries
    with pytest.raises(InputError, match='these weights belong to another network'):
        Predictor(tmp_path / 'known.pth', config=config)
    Predictor(tmp_path / 'known.pth', config=config, allow_other_network=True)


def test_disparity_is_in_pixels_of_the_image_given(tiny):
    predictor = Predictor(tiny.checkpoint, config=tiny.config)
    image = render_street(0, SIZE).left
    # Every pixel four times is the same image to the network.
    larger = predictor(image.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_allclose(larger.mean(), 2 * predictor(image).mean(), rtol=1e-3)
    assert larger.shape == (64, 192)


@pytest.mark.parametrize('shape', [(1, 1), (3, 500), (375, 1242)])
def test_any_size_of_image_is_taken(tiny, shape):
    disparity = Predictor(tiny.checkpoint, config=tiny.config)(np.full((*shape, 3), 99, np.uint8))
    assert disparity.shape == shape
    assert np.isfinite(disparity).all()


@pytest.mark.parametrize('format', [None, 'packed'])
def test_another_size_of_input_can_be_chosen(tiny, shipped, format):
    source = (
        dict(checkpoint=tiny.checkpoint, config=tiny.config) if format is None else dict(checkpoint=shipped(format))
    )
    disparity = Predictor(**source, size=(64, 192))(IMAGE)
    assert np.median(abs(disparity / by_hand(tiny, IMAGE, (64, 192)) - 1)) < 1e-4


def test_an_openvino_model_has_one_size(shipped):
    with pytest.raises(InputError, match='was exported for'):
        Predictor(shipped('openvino'), size=(64, 192))


@pytest.mark.parametrize(
    'image', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_rgb_image_is_refused(tiny, image):
    with pytest.raises(InputError, match='an image is uint8 of shape'):
        Predictor(tiny.checkpoint, config=tiny.config)(image)


def test_a_training_checkpoint_needs_its_config(tiny):
    with pytest.raises(InputError, match='does not carry the config it was trained with: give CONFIG'):
        Predictor(tiny.checkpoint)


def test_no_thread_is_refused(tiny):
    with pytest.raises(InputError, match='at least one thread'):
        Predictor(tiny.checkpoint, config=tiny.config, threads=0)


def test_an_exported_file_takes_no_config(tiny, shipped):
    with pytest.raises(InputError, match='carries its own config'):
        Predictor(shipped('packed'), config=tiny.config)


def test_a_config_that_does_not_say_its_size_asks_for_it(tiny, tmp_path):
    config = tmp_path / 'sizeless.py'
    config.write_text(tiny.config.read_text().split('test_dataloader')[0])
    foreign = tmp_path / 'foreign.pth'
    torch.save(dict(state_dict=torch.load(tiny.checkpoint, weights_only=True)['state_dict']), foreign)
    with pytest.raises(InputError, match='does not say the size of its images; give it with --size H W'):
        Predictor(foreign, config=config)
    assert Predictor(tiny.checkpoint, config=config).size == SIZE  # ours do


def test_a_packed_file_that_does_not_say_its_size_asks_for_it(tiny, tmp_path):
    config = load_config(str(tiny.config)).model
    model = MODELS.build(config).eval()
    path = export(model, 'packed', (1, 3, *SIZE), path=tmp_path / 'net.safetensors', config=config)
    with pytest.raises(InputError, match='does not say the size of its images'):
        Predictor(path)
    assert Predictor(path, size=SIZE).size == SIZE


def test_an_openvino_model_that_says_nothing_of_images_is_refused(tmp_path):
    path = export(torch.nn.Conv2d(3, 1, 1), 'openvino', (1, 3, *SIZE), path=tmp_path / 'net.xml')
    with pytest.raises(InputError, match='export it with bireal depth export'):
        Predictor(path)


def test_a_network_for_something_else_is_refused(tmp_path):
    config = tmp_path / 'classifier.py'
    config.write_text(
        "model = dict(type='BiRealClassifier', num_classes=5, data_preprocessor=dict(type='ImagePreprocessor'),"
        "backbone=dict(type='BiRealResNet', depth=18, base_channels=8))"
    )
    model = MODELS.build(load_config(str(config)).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'classifier.pth')
    with pytest.raises(InputError, match=r'is no depth network: it makes \(1, 5\)'):
        Predictor(tmp_path / 'classifier.pth', config=config, size=SIZE)(IMAGE)


class Opaque:
    """Something that only code can load."""


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'truncated or not a PyTorch file'),
        (pickle.dumps(dict(state_dict=Opaque())), 'not loaded|not a PyTorch file'),
        (None, 'does not exist'),
    ],
)
def test_foreign_checkpoints_are_a_sentence(tiny, tmp_path, content, message):
    path = tmp_path / 'x.pth'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Predictor(path, config=tiny.config)


def test_weights_must_all_fit(tiny, tmp_path):
    state = torch.load(tiny.checkpoint, weights_only=True)['state_dict']
    state.pop('head.factors')
    torch.save(dict(state_dict=state), tmp_path / 'x.pth')
    with pytest.raises(InputError, match=r'head\.factors'):
        Predictor(tmp_path / 'x.pth', config=tiny.config)


def test_predictions_that_are_not_finite_are_refused(tiny, tmp_path):
    state = torch.load(tiny.checkpoint, weights_only=True)['state_dict']
    state['head.factors'][0] = 3e38  # finite weights, infinite sums
    torch.save(dict(state_dict=state), tmp_path / 'x.pth')
    with pytest.raises(InputError, match='not finite'):
        Predictor(tmp_path / 'x.pth', config=tiny.config)(IMAGE)


NOISE = np.random.default_rng(0).integers(1, 256, (6, 8, 3), np.uint8)


def brightness(image):
    """A network that treats a mirror image as the mirror image."""
    return image.mean(2, dtype=np.float32)


def slanted(image):
    """A network with a bias to the left."""
    return brightness(image) + np.arange(image.shape[1], dtype=np.float32)


def test_a_network_without_a_side_is_confirmed_by_the_mirror_image():
    disparity, confidence = flip_averaged(brightness, NOISE)
    np.testing.assert_allclose(disparity, brightness(NOISE), rtol=1e-6)
    np.testing.assert_allclose(confidence, 1, rtol=1e-6)


def test_mean_and_relative_disagreement_of_both():
    disparity, confidence = flip_averaged(slanted, NOISE)
    a, b = slanted(NOISE), brightness(NOISE) + np.arange(8)[::-1]
    np.testing.assert_allclose(disparity, (a + b) / 2, rtol=1e-6)
    np.testing.assert_allclose(confidence, 1 - abs(a - b) / np.maximum(a, b), rtol=1e-5)


def test_there_is_no_confidence_in_a_disparity_that_is_not_positive():
    _, confidence = flip_averaged(lambda image: np.full(NOISE.shape[:2], -1, np.float32), NOISE)
    assert (confidence == 0).all()
