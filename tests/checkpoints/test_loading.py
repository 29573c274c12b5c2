"""Weights of stock ResNets under Bi-Real names, and what loading says."""

import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from bireal_plugin import BiRealClassifier, BiRealResNet, InputError
from bireal_plugin.checkpoints import loading as pretrained
from bireal_plugin.checkpoints.layouts import NO_NARROW_STREAM, naming
from bireal_plugin.checkpoints.loading import load_weights

STOCK = {
    'torchvision resnet18': (18, lambda: torchvision.models.resnet18()),
    'torchvision resnet50': (50, lambda: torchvision.models.resnet50()),
    'timm resnet18': (18, lambda: timm.create_model('resnet18')),
    'timm resnet50': (50, lambda: timm.create_model('resnet50')),
}
LEFT_OUT = r'fc\.|.*narrow_shortcut\.'


def resnet_to_bireal(state, model):
    """The weights under the names they get in ``model``."""
    names = naming(state, model.state_dict(), 'resnet.pth').names
    return {names[name]: value for name, value in state.items()}


def in_order(state, stage, layer):
    """The weights of a stage's convolutions ('conv'), norms ('bn') or shortcut ('downsample'), in definition order."""
    return [value for name, value in state.items() if re.match(rf'(backbone\.)?layer{stage}\.\d+\.{layer}', name)]


def randomized(model):
    """The model with every tensor different, BatchNorm's included, which would otherwise all be 0 or 1."""
    for value in model.state_dict().values():
        value.copy_(torch.randn(value.shape) if value.is_floating_point() else torch.tensor(7))
    return model


@pytest.fixture(scope='module', params=list(STOCK))
def stock(request):
    """Depth, state dict of a stock ResNet, and a Bi-Real classifier that has loaded it."""
    torch.manual_seed(0)
    depth, make = STOCK[request.param]
    state = randomized(make()).state_dict()
    model = BiRealClassifier(BiRealResNet(depth, out_indices=(3,)), num_classes=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_weights(model, state, source='resnet.pth', strict=False)
    return depth, state, model.state_dict(), before, report


@pytest.mark.parametrize('layer', ['conv', 'bn', 'downsample'])
def test_every_weight_lands_in_its_place(stock, layer):
    _, state, loaded, _, _ = stock
    for stage in (1, 2, 3, 4):
        theirs, ours = in_order(state, stage, layer), in_order(loaded, stage, layer)
        assert len(theirs) == len(ours)
        assert all(torch.equal(their, our) for their, our in zip(theirs, ours, strict=True))


@pytest.mark.parametrize('name', ['conv1.weight', 'bn1.weight', 'bn1.running_var', 'bn1.num_batches_tracked'])
def test_stem_is_loaded(stock, name):
    _, state, loaded, _, _ = stock
    assert torch.equal(loaded[f'backbone.{name}'], state[name])


def test_classifier_of_another_size_and_narrow_shortcuts_keep_their_values(stock):
    _, _, loaded, before, _ = stock
    kept = {name for name in loaded if torch.equal(loaded[name], before[name])}
    assert kept == {name for name in loaded if re.match(LEFT_OUT, name)}


def test_report_counts_what_was_loaded_and_names_what_was_not(stock):
    depth, _, loaded, _, report = stock
    placed = sum(not re.match(LEFT_OUT, name) for name in loaded)
    expected = f"resnet.pth: {placed} of the model's {len(loaded)} tensors loaded; names of a stock ResNet mapped"
    if depth == 50:
        narrow = [name for name in loaded if 'narrow_shortcut' in name]
        expected += f'; 3 not in the file ({", ".join(narrow)}): {NO_NARROW_STREAM}'
    features = 512 if depth == 18 else 2048
    expected += f'; 2 of another shape (fc.weight, fc.bias), the first (1000, {features}) instead of (10, {features})'
    assert str(report).startswith(f'{expected}; the {16 if depth == 18 else 47} 1-bit convolutions')


def test_second_convolution_of_a_basic_block_becomes_a_block():
    state = torchvision.models.resnet18().state_dict()
    renamed = resnet_to_bireal(state, BiRealResNet(18))
    assert torch.equal(renamed['layer1.1.conv1.weight'], state['layer1.0.conv2.weight'])
    assert torch.equal(renamed['layer2.0.downsample.1.weight'], state['layer2.0.downsample.0.weight'])
    assert torch.equal(renamed['layer4.3.bn1.running_mean'], state['layer4.1.bn2.running_mean'])


@pytest.mark.parametrize(
    'model',
    [
        lambda: BiRealResNet(18, base_channels=4),
        lambda: BiRealResNet(50, base_channels=4, deep_stem=True),
        lambda: BiRealClassifier(BiRealResNet(18, base_channels=4), num_classes=3),
        lambda: torchvision.models.resnet18(),
        lambda: nn.ModuleDict(dict(backbone=torchvision.models.resnet18())),  # a stock detector's backbone
        lambda: nn.ModuleDict(
            dict(backbone=BiRealResNet(18, base_channels=4), head=nn.ModuleDict(dict(fc=nn.Linear(2, 2))))
        ),
    ],
    ids=['basic', 'bottleneck', 'classifier', 'stock', 'detector', 'mmpretrain'],
)
def test_a_models_own_weights_keep_their_names(model):
    model = model()
    state = model.state_dict()
    assert list(resnet_to_bireal(state, model)) == list(state)


def test_prefix_backbone_is_added_and_taken_away():
    backbone = BiRealResNet(18, base_channels=4)
    classifier = BiRealClassifier(backbone, num_classes=3)
    inner, outer = backbone.state_dict(), classifier.state_dict()
    assert set(resnet_to_bireal(inner, classifier)) == {name for name in outer if name.startswith('backbone.')}
    assert set(resnet_to_bireal(outer, backbone)) == {*inner, 'fc.weight', 'fc.bias'}


def test_mmpretrain_classifier_loads_with_its_head():
    model = BiRealClassifier(BiRealResNet(18, base_channels=4), num_classes=3)
    state = {re.sub('^fc', 'head.fc', name): value for name, value in model.state_dict().items()}
    report = load_weights(model, state, source='mm.pth', strict=True)
    assert str(report) == "mm.pth: 122 of the model's 122 tensors loaded"


def test_weights_of_nothing_similar_are_refused():
    model = BiRealResNet(18, base_channels=4)
    with pytest.raises(InputError, match=r"vit\.pth: 0 of the model's 120 .*blocks\.0\.qkv.*belong to another network"):
        load_weights(model, {'blocks.0.qkv': torch.ones(3)}, source='vit.pth', strict=False)


@pytest.mark.parametrize('change', ['missing', 'unknown', 'shape'])
def test_strict_loading_refuses_any_difference(change):
    model = BiRealResNet(18, base_channels=4)
    state = dict(model.state_dict())
    if change == 'missing':
        del state['bn1.weight']
    elif change == 'unknown':
        state['neck.weight'] = torch.ones(1)
    else:
        state['bn1.weight'] = torch.ones(5)
    with pytest.raises(InputError, match='belong to another network'):
        load_weights(model, state, source='changed.pth', strict=True)


def test_refused_weights_change_nothing():
    model = BiRealResNet(18, base_channels=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value + 1 for name, value in before.items() if name != 'bn1.weight'}
    with pytest.raises(InputError):
        load_weights(model, state, source='changed.pth', strict=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_timm_address_is_the_pretrained_model_of_that_name(monkeypatch):
    model = nn.Linear(2, 2)
    asked = []

    def create_model(name, *, pretrained):
        asked.append((name, pretrained))
        return model

    monkeypatch.setattr(pretrained.timm, 'create_model', create_model)
    state = pretrained.load_from_timm('timm://resnet18.a1_in1k')
    assert asked == [('resnet18.a1_in1k', True)]
    assert torch.equal(state['weight'], model.weight)


def test_unknown_timm_model_is_refused():
    with pytest.raises(InputError, match=r"timm has no model 'resnet19'; timm\.list_pretrained\(\)"):
        pretrained.load_from_timm('timm://resnet19')
