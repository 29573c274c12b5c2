"""Networks of the same tensors that compute something else with them: what loading says."""

import logging

import pytest
import torch
import torchvision
from torch import nn

from bireal_plugin import BiRealClassifier, BiRealResNet
from bireal_plugin.checkpoints import loading
from bireal_plugin.checkpoints.file import Origin
from bireal_plugin.checkpoints.function import seen
from bireal_plugin.checkpoints.loading import load_weights

BASE = dict(depth=18, base_channels=4)
REAL = dict(activation='clip', weights='real')


def network(**options):
    torch.manual_seed(0)
    return BiRealResNet(**{**BASE, **options})


def advice(theirs, ours, **origin):
    """The advice of loading a ``BiRealResNet(**theirs)`` that tells its config into a ``BiRealResNet(**ours)``."""
    config = dict(model=dict(type='BiRealResNet', **{**BASE, **theirs}))
    told = Origin(config, **origin)
    return load_weights(network(**ours), network(**theirs).state_dict(), source='x', strict=True, origin=told).advice


def outputs(trained, options):
    """The feature maps of ``BiRealResNet(**options)`` with the tensors of ``trained``."""
    torch.manual_seed(1)
    net = network(**options).eval()
    net.load_state_dict(trained.state_dict())
    with torch.no_grad():
        return net(torch.randn(2, 3, 64, 64))


PAIRS = {
    'stride': (dict(strides=(1, 2, 2, 1)), {}, 'layer4.0.conv1.stride = (1, 1), and the model has (2, 2)'),
    'dilation': ({}, dict(dilations=(1, 1, 1, 2)), 'layer4.0.conv1.padding = (1, 1), and the model has (2, 2)'),
    'eps': (dict(norm_cfg=dict(type='BN', eps=0.1)), {}, 'bn1.eps = 0.1, and the model has 1e-05 (and 19 more)'),
    'groups of norms': (
        dict(norm_cfg=dict(type='GN', num_groups=2)),
        dict(norm_cfg=dict(type='GN', num_groups=4)),
        'bn1.num_groups = 2, and the model has 4',
    ),
    'stem': (
        dict(deep_stem=True, stem='cifar'),
        dict(deep_stem=True, stem='imagenet'),
        'stem.0.stride = (1, 1), and the model has (2, 2)',
    ),
    'style': (
        dict(depth=50, style='caffe'),
        dict(depth=50),
        'layer2.0.conv1.stride = (2, 2), and the model has (1, 1)',
    ),
    'rule': (dict(weight='Sign'), {}, 'by the rule layer1.0.conv1 = Sign(), and the model has MagnitudeAware'),
    'means per layer': (dict(weight=dict(type='MagnitudeAware', per='layer')), {}, "MagnitudeAware(per='layer'), and"),
    'XNOR': (dict(conv='XNORConv2d'), {}, 'layer1.0.conv1.type = XNORConv2d, and the model has BinaryConv2d'),
    'binary': ({}, dict(weights='real'), "MagnitudeAware(per='channel'), and the model has real weights"),
}
SAME = {
    'SyncBN': (dict(norm_cfg=dict(type='SyncBN')), {}),
    'momentum': (dict(norm_cfg=dict(type='BN', momentum=0.01)), {}),
    'surrogate': (dict(sign='STE'), {}),
    'window of the gradient': (dict(weight='XNORWeight'), {}),
    'real XNOR': (dict(conv='XNORConv2d', **REAL), REAL),
}
STEPS = {'clip': (REAL, {}), 'two steps': (dict(depth=50, weights='step1'), dict(depth=50))}


@pytest.mark.parametrize(('theirs', 'ours', 'words'), PAIRS.values(), ids=PAIRS)
def test_another_function_is_told_and_is_another(theirs, ours, words):
    assert words in advice(theirs, ours)
    trained = network(**theirs)
    pairs = zip(outputs(trained, theirs), outputs(trained, ours), strict=True)
    assert any(one.shape != other.shape or not torch.allclose(one, other) for one, other in pairs)


@pytest.mark.parametrize(('theirs', 'ours'), SAME.values(), ids=SAME)
def test_the_same_function_is_not_told_and_is_the_same(theirs, ours):
    assert advice(theirs, ours) == ''
    trained = network(**theirs)
    if theirs.get('norm_cfg', {}).get('type') != 'SyncBN':  # for GPUs alone
        pairs = zip(outputs(trained, theirs), outputs(trained, ours), strict=True)
        assert all(torch.allclose(one, other) for one, other in pairs)


@pytest.mark.parametrize(('theirs', 'ours'), STEPS.values(), ids=STEPS)
def test_a_step_of_the_recipe_is_not_told(theirs, ours):
    assert advice(theirs, ours) == ''


def test_weights_of_plus_and_minus_one_are_the_same_under_every_rule():
    net = network()
    for name, weight in net.state_dict().items():
        if name.startswith('layer') and name.endswith('.conv1.weight'):
            weight.copy_(torch.where(weight >= 0, 1.0, -1.0))
    config = dict(model=dict(type='BiRealResNet', **BASE, weight='Sign'))
    report = load_weights(network(), net.state_dict(), source='x', strict=True, origin=Origin(config))
    assert report.advice == ''


@pytest.mark.parametrize(
    ('phases', 'words'),
    [
        (dict(MagnitudeAwareHook='Sign'), 'by the rule layer1.0.conv1 = Sign()'),
        (dict(TwoStepBinarizationHook='clip'), ''),
        (dict(OfAnotherPackage='later'), ''),
    ],
)
def test_the_phase_in_which_weights_were_saved_counts(phases, words):
    found = advice({}, {}, phases=phases)
    assert words in found
    assert bool(words) == bool(found)


def test_backbones_inside_of_models_are_compared():
    config = dict(model=dict(type='OfAnotherPackage', backbone=dict(type='BiRealResNet', **BASE, strides=(1, 2, 2, 1))))
    model, trained = (BiRealClassifier(network(**options), 3) for options in ({}, dict(strides=(1, 2, 2, 1))))
    report = load_weights(model, trained.state_dict(), source='x', strict=True, origin=Origin(config))
    assert 'layer4.0.conv1.stride = (1, 1), and the model has (2, 2)' in report.advice


@pytest.mark.parametrize('kind', ['OfAnotherPackage', 'os.system', 'BiRealResNet'])
def test_a_network_that_cannot_be_built_here_is_told(kind):
    config = dict(model=dict(type=kind, **BASE, of_a_later_version=True))
    report = load_weights(network(), network().state_dict(), source='x', strict=True, origin=Origin(config))
    assert 'cannot be built here: strides, norms and rules were not compared' in report.advice


def test_a_stock_network_of_a_run_of_this_package_is_told_as_one():
    config = dict(model=dict(type='ResNet', depth=18))
    model = BiRealResNet(18, activation='relu', weights='real', structure='resnet')
    state = torchvision.models.resnet18().state_dict()
    assert load_weights(model, state, source='x', strict=False, origin=Origin(config)).advice == ''


IMAGES = dict(mean=(1, 2, 3), std=(4, 5, 6))


@pytest.mark.parametrize(
    ('theirs', 'ours', 'words'),
    [
        (dict(type='ImagePreprocessor', **IMAGES), dict(type='ImagePreprocessor', **IMAGES), ''),
        (
            dict(type='ImagePreprocessor', **IMAGES),
            dict(type='ImagePreprocessor', mean=(3, 2, 1), std=(4, 5, 6)),
            'on images as RGB, mean 1 2 3, deviation 4 5 6, and the model sees RGB, mean 3 2 1, deviation 4 5 6',
        ),
        (
            dict(type='ImagePreprocessor', mean=(0,), std=(255,)),
            dict(type='ImagePreprocessor', mean=(0, 0, 0), std=(255, 255, 255)),
            '',
        ),
        (
            dict(type='ImagePreprocessor', **IMAGES),
            dict(type='ImgDataPreprocessor', **IMAGES),
            'and the model sees BGR, mean 1 2 3',
        ),
        (dict(type='ImagePreprocessor', **IMAGES), dict(type='ImgDataPreprocessor', **IMAGES, bgr_to_rgb=True), ''),
    ],
)
@pytest.mark.parametrize('beside', [False, True])
def test_images_that_are_made_otherwise_are_told(theirs, ours, words, beside):
    backbone = dict(type='BiRealResNet', **BASE)
    model = dict(type='BiRealClassifier', backbone=backbone, num_classes=3)
    config = (
        dict(model=model, data_preprocessor=theirs) if beside else dict(model={**model, 'data_preprocessor': theirs})
    )
    trained = BiRealClassifier(network(), 3)
    built = BiRealClassifier(network(), 3, data_preprocessor=ours)
    report = load_weights(built, trained.state_dict(), source='x', strict=True, origin=Origin(config))
    assert words in report.advice
    assert bool(words) == bool(report.advice)


def test_images_that_are_not_normalised_are_not_compared():
    assert seen(None) is None
    assert seen(nn.Identity()) is None


def test_a_file_without_an_origin_is_told_once_and_is_no_warning(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(loading, 'print_log', lambda text, logger=None, level=None: lines.append((text, level)))
    path = str(tmp_path / 'own.pth')
    torch.save(network().state_dict(), path)
    network(init_cfg=dict(type='Pretrained', checkpoint=path)).init_weights()
    [(text, level)] = lines
    assert text.endswith('the file does not tell how it was trained, so that names and shapes alone were compared')
    assert level == logging.INFO
