"""``init_cfg=dict(type='Pretrained')`` and ``pretrained=``: what is loaded, and what the log says about it."""

import logging
import re
from contextlib import nullcontext
from pathlib import Path

import mmengine.runner.checkpoint
import pytest
import torch
import torchvision
from mmengine.model import BaseModule
from torch import nn

from bireal_plugin import BiRealResNet, InputError
from bireal_plugin.checkpoints import loading
from bireal_plugin.checkpoints.file import Origin
from tests.models import published


class Unpickled:
    """Pickles into a call of Path.touch: code that runs when loading is not weights-only."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def logged(monkeypatch):
    """What the loading logs, as ``(text, level)``."""
    lines = []
    monkeypatch.setattr(loading, 'print_log', lambda text, logger=None, level=logging.INFO: lines.append((text, level)))
    return lines


@pytest.fixture(scope='module')
def stock():
    torch.manual_seed(0)
    return torchvision.models.resnet50().state_dict()


@pytest.fixture
def torchvision_file(tmp_path, monkeypatch):
    """``torchvision_file(content)`` is what ``torchvision://resnet50`` then downloads, by torch.hub, from a file."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    path = tmp_path / 'resnet50-00000000.pth'
    urls = dict(resnet50=path.as_uri())
    monkeypatch.setattr(mmengine.runner.checkpoint, 'get_torchvision_models', lambda: urls)

    def save(content):
        torch.save(content, path)

    return save


def initialised(**init_cfg):
    net = BiRealResNet(50, init_cfg=dict(type='Pretrained', **init_cfg))
    net.init_weights()
    return net


def check_stock(net, stock, logged, source):
    assert torch.equal(net.layer3[2].conv2.weight, stock['layer3.2.conv2.weight'])
    assert torch.equal(net.layer2[0].downsample[1].weight, stock['layer2.0.downsample.0.weight'])
    [(text, level)] = logged
    # 320 tensors of torchvision's resnet50, less the linear layer's 2; ours has 3 narrow shortcuts more.
    assert text.startswith(f"{source}: 318 of the model's 321 tensors loaded; names of a stock ResNet mapped; 3 not in")
    assert '2 not in the model (fc.weight, fc.bias)' in text
    assert 'the 47 1-bit convolutions start from real weights trained behind ReLU: train real stages' in text
    assert level == logging.WARNING


def test_torchvision_address(stock, torchvision_file, logged):
    torchvision_file(stock)
    check_stock(initialised(checkpoint='torchvision://resnet50'), stock, logged, 'torchvision://resnet50')


def test_pretrained_argument_is_the_same(stock, torchvision_file, logged):
    torchvision_file(stock)
    net = BiRealResNet(50, pretrained='torchvision://resnet50')
    net.init_weights()
    check_stock(net, stock, logged, 'torchvision://resnet50')


@pytest.mark.parametrize('prefix', ['backbone.', 'backbone'])
def test_prefix_takes_a_part_of_a_detector(stock, logged, tmp_path, prefix):
    path = str(tmp_path / 'detector.pth')
    detector = {f'backbone.{name}': value for name, value in stock.items()} | {'neck.weight': torch.ones(1)}
    torch.save(dict(state_dict=detector), path)
    check_stock(initialised(checkpoint=path, prefix=prefix), stock, logged, path)


def test_a_detectors_backbone_is_found_without_prefix_too(stock, logged, tmp_path):
    path = str(tmp_path / 'detector.pth')
    detector = {f'backbone.{name}': value for name, value in stock.items() if not name.startswith('fc')}
    torch.save(dict(state_dict={**detector, 'neck.weight': torch.ones(1)}), path)
    initialised(checkpoint=path)
    assert "318 of the model's 321 tensors loaded" in logged[0][0]
    assert '1 not in the model (neck.weight)' in logged[0][0]


def test_published_checkpoint(logged, tmp_path):
    path = str(tmp_path / 'published.pth')
    state = published.state_of(50)
    torch.save(published.checkpoint(state), path)
    net = initialised(checkpoint=path)
    assert torch.equal(net.layer4[2].conv3.weight, state['layers.15.conv3.weight'])
    assert "321 of the model's 321 tensors loaded; names of a published Bi-Real 50 mapped; 1 left out" in logged[0][0]


def test_own_backbone_is_no_warning(logged, tmp_path):
    path = str(tmp_path / 'own.pth')
    own = BiRealResNet(18, base_channels=4)
    torch.save(own.state_dict(), path)
    net = BiRealResNet(18, base_channels=4, init_cfg=dict(type='Pretrained', checkpoint=path))
    net.init_weights()
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in net.state_dict().items())
    assert logged == [(f"{path}: 120 of the model's 120 tensors loaded; {loading.UNTOLD}", logging.INFO)]


def test_real_stage_gets_no_advice_about_1_bit_layers(logged, tmp_path):
    path = str(tmp_path / 'stock.pth')
    torch.save(torchvision.models.resnet18().state_dict(), path)
    options = dict(activation='relu', weights='real')
    BiRealResNet(18, init_cfg=dict(type='Pretrained', checkpoint=path), **options).init_weights()
    assert '1-bit' not in logged[0][0]


def test_backbone_inside_a_model_is_initialised_by_it(stock, logged, tmp_path):
    class Detector(BaseModule):
        def __init__(self, backbone):
            super().__init__()
            self.backbone = backbone

    path = str(tmp_path / 'stock.pth')
    torch.save(stock, path)
    detector = Detector(BiRealResNet(50, init_cfg=dict(type='Pretrained', checkpoint=path)))
    detector.init_weights()
    check_stock(detector.backbone, stock, logged, path)


def test_pretrained_weights_win_over_other_initialisers_wherever_they_stand(logged, tmp_path):
    path = str(tmp_path / 'own.pth')
    own = BiRealResNet(18, base_channels=4)
    torch.save(own.state_dict(), path)
    pretrained = dict(type='Pretrained', checkpoint=path)
    net = BiRealResNet(18, base_channels=4, init_cfg=[pretrained, dict(type='Constant', layer='Conv2d', val=3.0)])
    net.init_weights()
    assert torch.equal(net.conv1.weight, own.conv1.weight)


def test_other_initialisers_are_mmengines():
    net = BiRealResNet(18, base_channels=4, init_cfg=dict(type='Constant', layer='Conv2d', val=3.0))
    net.init_weights()
    assert (net.conv1.weight == 3).all()


def test_init_cfg_reads_afterwards_as_it_was_given(logged, tmp_path):
    path = str(tmp_path / 'own.pth')
    torch.save(BiRealResNet(18, base_channels=4).state_dict(), path)
    given = dict(type='Pretrained', checkpoint=path)
    net = BiRealResNet(18, base_channels=4, init_cfg=given)
    net.init_weights()
    assert net.init_cfg == given


@pytest.mark.parametrize(
    ('content', 'prefix', 'words'),
    [
        ({'blocks.0.qkv': torch.ones(3)}, None, r"0 of the model's 321 tensors loaded; .*belong to another network"),
        ({'neck.weight': torch.ones(3)}, 'backbone.', r"no name starts with 'backbone\.'; they start with neck\."),
        (dict(epoch=3), None, 'has no weights'),
        (nn.Linear(1, 1), None, r'holds objects \(torch\.nn\.modules\.linear\.Linear\).* could run any code'),
    ],
    ids=['nothing matches', 'prefix', 'no weights', 'code'],
)
def test_what_cannot_be_loaded_is_refused(tmp_path, content, prefix, words):
    path = str(tmp_path / 'given.pth')
    torch.save(content, path)
    with pytest.raises(InputError, match=words):
        initialised(checkpoint=path, prefix=prefix)


def test_missing_file_is_refused():
    with pytest.raises(InputError, match=r'checkpoint absent\.pth does not exist'):
        initialised(checkpoint='absent.pth')


def test_a_downloaded_pickle_with_code_is_not_run(torchvision_file, tmp_path):
    """torch.hub, through which mmengine downloads, would unpickle anything."""
    touched = tmp_path / 'touched'
    torchvision_file(dict(state_dict={'conv1.weight': torch.ones(1)}, extra=Unpickled(touched)))
    with pytest.raises(InputError, match=r'torchvision://resnet50 holds objects .* could run any code'):
        initialised(checkpoint='torchvision://resnet50')
    assert not touched.exists()


@pytest.mark.parametrize(
    ('phase', 'trained', 'model', 'words'),
    [
        ('relu', {}, {}, 'trained behind relu and the model has sign'),
        ('relu', {}, dict(activation='relu', weights='real'), ''),
        ('clip', {}, {}, ''),
        ('bn', dict(activation='relu', weights='real'), {}, ''),
        ('step1', dict(activation='clip'), dict(activation='relu'), 'trained behind sign and the model has relu'),
    ],
)
def test_the_activation_is_that_of_the_phase_in_which_the_weights_were_saved(
    logged, tmp_path, phase, trained, model, words
):
    path = str(tmp_path / 'weights.pth')
    config = dict(model=dict(type='BiRealResNet', depth=18, base_channels=4, **trained))
    meta = Origin(config).as_meta() | dict(phases=dict(TwoStepBinarizationHook=phase, MagnitudeAwareHook='scaled'))
    torch.save(dict(state_dict=BiRealResNet(18, base_channels=4).state_dict(), meta=meta), path)
    BiRealResNet(18, base_channels=4, init_cfg=dict(type='Pretrained', checkpoint=path), **model).init_weights()
    [(text, level)] = logged
    assert level == (logging.WARNING if words else logging.INFO)
    assert words in text


@pytest.mark.parametrize(
    ('trained', 'model', 'words'),
    [
        ({}, {}, []),
        (
            dict(structure='resnet'),
            {},
            [r"trained with structure='resnet' and the model has 'bireal'.* accuracy of chance"],
        ),
        (dict(activation='relu'), dict(activation='leaky_clip'), []),  # a step of the recipe
        (dict(activation='clip'), {}, []),
        (
            dict(activation='relu'),
            {},
            ['trained behind relu and the model has sign: it begins at the accuracy of chance'],
        ),
        (dict(activation='relu'), dict(activation='clip'), ['trained behind relu and the model has clip']),
        ({}, dict(activation='relu', weights='real'), ['trained behind sign and the model has relu']),
        (dict(structure='plain', activation='relu'), {}, ["structure='plain'", 'trained behind relu']),
    ],
)
def test_another_structure_or_activation_than_trained_is_a_warning(logged, tmp_path, trained, model, words):
    path = str(tmp_path / 'trained.pth')
    backbone = dict(type='BiRealResNet', depth=18, base_channels=4, **trained)
    origin = Origin(dict(model=dict(type='BiRealClassifier', backbone=backbone)))
    state = BiRealResNet(18, base_channels=4, **trained).state_dict()
    torch.save(dict(state_dict=state, meta=origin.as_meta()), path)
    BiRealResNet(18, base_channels=4, init_cfg=dict(type='Pretrained', checkpoint=path), **model).init_weights()
    [(text, level)] = logged
    shortcuts = 'resnet' in trained.values() or 'plain' in trained.values()
    assert level == (logging.WARNING if words or shortcuts else logging.INFO)
    assert ('trained' in text.replace(path, '')) == bool(words)
    assert all(re.search(word, text) for word in words)


def test_a_stock_resnet_says_that_its_shortcuts_are_others(stock, logged, tmp_path):
    path = str(tmp_path / 'stock.pth')
    torch.save(stock, path)
    real = dict(activation='relu', weights='real')
    for structure in ('bireal', 'resnet'):
        pretrained = dict(type='Pretrained', checkpoint=path)
        BiRealResNet(50, init_cfg=pretrained, structure=structure, **real).init_weights()
    assert "trained with structure='resnet' and the model has 'bireal'" in logged[0][0]
    assert 'trained' not in logged[1][0]


def test_a_small_part_is_taken_where_it_is_allowed(logged, tmp_path):
    path = str(tmp_path / 'part.pth')
    state = {'bn1.weight': torch.ones(4), **{f'other.{i}': torch.ones(1) for i in range(200)}}
    torch.save(state, path)
    for options, refused in (({}, True), (dict(allow_partial=True), False)):
        net = BiRealResNet(18, base_channels=4, init_cfg=dict(type='Pretrained', checkpoint=path, **options))
        with pytest.raises(InputError, match='less than half') if refused else nullcontext():
            net.init_weights()
