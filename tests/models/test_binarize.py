import copy
import pickle
from functools import partial

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint

from bireal_plugin import BiRealConfig, InputError, binarize
from bireal_plugin.binary import BinaryConv2d, XNORConv2d, binary_convolutions, set_activation, set_weights
from bireal_plugin.checkpoints.layouts import naming
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.cost import model_cost
from bireal_plugin.models import BiRealResNet
from tests.models.hosts import HOSTS, SECOND_STREAM_TRACED, MiniResNet, tiny_basic, tiny_bottleneck


def build(name, device='cpu'):
    if name.startswith('mmdet'):
        pytest.importorskip('mmdet')
    torch.manual_seed(0)
    with torch.device(device):
        return HOSTS[name]()


def last(output):
    return output[-1] if isinstance(output, tuple) else output


def images(size, seed=1):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def randomise_norms(model):
    """Statistics and affine parameters that BatchNorm could have after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)


@pytest.mark.parametrize('name', HOSTS)
def test_every_host_becomes_a_network_of_signs_that_trains(name):
    model = build(name)
    before = dict(model.named_parameters())
    names = list(model.state_dict())
    report = binarize(model, shape=(3, 64, 64))

    # Parameters are the same objects under the same names; the only new ones are the narrow shortcuts.
    after = dict(model.named_parameters())
    assert all(after[key] is value for key, value in before.items())
    narrow = [name for name in after if name.endswith('.0.narrow_shortcut.weight')]
    assert set(model.state_dict()) - set(names) == set(narrow) == set(report.new_parameters)
    assert [key for key in model.state_dict() if key not in narrow] == names
    stages = {name.rpartition('.0.')[0] for name in narrow}
    assert len(stages) == (0 if all('conv3' not in key for key in names) else len(report_stages(names)) - 1)

    polarities = {}
    for key, conv in binary_convolutions(model):
        conv.register_forward_pre_hook(lambda _, x, key=key: polarities.update({key: (x[0] < 0).float().mean()}))
    # Neighbouring pixels are alike, as in a photograph: the stem's maximum over 3x3 would lift white noise above 0.
    x = nn.functional.interpolate(images(8), size=64, mode='bicubic')
    last(model(x)).square().mean().backward()
    assert polarities.keys() == set(report.binarized)
    assert [key for key, share in polarities.items() if not 0.02 < share < 0.98] == []
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


def report_stages(names):
    return {name.split('.')[0] for name in names if name.startswith('layer')}


@pytest.mark.parametrize('name', HOSTS)
def test_every_convolution_of_a_block_is_binary_and_no_other(name):
    model = build(name, 'meta')
    in_blocks = {
        key
        for key, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and key.startswith('layer') and key.split('.')[2].startswith('conv')
    }
    first = {'layer1.0.conv1'} if any(key.endswith('.conv3') for key in in_blocks) else set()
    others = {
        key for key, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))
    } - in_blocks | first
    report = binarize(model, shape=(3, 64, 64))
    assert set(report.binarized) == in_blocks - first == {key for key, _ in binary_convolutions(model)}
    assert {key for key in report.real if not key.endswith('narrow_shortcut')} == others
    assert 'stem' in report.real[next(iter(report.real))]


def converted_and_bireal(depth, **options):
    """torchvision's ResNet, converted, and BiRealResNet with its weights."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, f'resnet{depth}')()
    model.fc = nn.Identity()
    randomise_norms(model)
    binarize(model, **options, shape=(3, 32, 32))
    twin = BiRealResNet(depth, **options)
    load_weights(twin, model.state_dict(), source='the converted model', strict=True)
    return model, twin


@pytest.fixture(scope='module', params=[18, 50])
def pair(request):
    return converted_and_bireal(request.param)


def assert_equal_outputs(model, twin):
    for mode in (False, True):
        model.train(mode), twin.train(mode)
        assert torch.equal(model(images(47)), twin(images(47))[-1].mean((2, 3)))


@pytest.mark.parametrize('weights', ['binary', 'step1', 'real'])
@pytest.mark.parametrize('activation', ['sign', 'relu', 'leaky_clip', 'clip'])
def test_torchvisions_resnet_computes_what_bireal_resnet_does(pair, activation, weights):
    for network in pair:
        set_activation(network, activation)
        set_weights(network, weights)
    assert_equal_outputs(*pair)


@pytest.mark.parametrize(
    ('depth', 'options'),
    [
        (34, {}),
        (18, dict(structure='resnet')),
        (18, dict(structure='plain')),
        (50, dict(structure='resnet')),
        (50, dict(structure='plain')),
        (18, dict(activation='clip', weights='real')),
    ],
)
def test_other_depths_structures_and_stages_do_so_too(depth, options):
    assert_equal_outputs(*converted_and_bireal(depth, **options))


def test_the_plain_structure_tells_which_shortcuts_it_dropped():
    model = tiny_bottleneck()
    shortcuts = [name for name, _ in model.named_parameters() if 'downsample' in name]
    report = binarize(model, structure='plain', shape=(3, 32, 32))
    assert sorted(shortcuts) == list(report.dropped_parameters)
    assert not any('downsample' in name for name, _ in model.named_parameters())


@pytest.mark.parametrize('make', [tiny_basic, tiny_bottleneck, partial(MiniResNet, norm_name='gn')])
def test_an_optimizer_from_before_trains_the_model(make):
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    report = binarize(model, shape=(3, 32, 32))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    last(model(images(32))).square().mean().backward()
    optimizer.step()
    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert still == set(report.new_parameters)


def test_gradients_are_those_of_bireal_resnet():
    model, twin = converted_and_bireal(18)
    model(images(32)).square().sum().backward()
    twin(images(32))[-1].mean((2, 3)).square().sum().backward()
    names = naming(model.state_dict(), twin.state_dict(), 'the converted model').names
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, twin.get_parameter(names[name]).grad)


def test_report_numbers_are_those_of_the_model():
    with torch.device('meta'):
        model = torchvision.models.resnet18()
    real = sum(p.numel() for p in model.parameters())
    report = binarize(model)
    binary = sum(conv.weight.numel() for _, conv in binary_convolutions(model))
    assert report.before.memory_bits == 32 * real
    assert report.after.memory_bits == 32 * (real - binary) + binary
    assert (report.after.memory_bits, report.after.bops) == (model_cost(model).memory_bits, model_cost(model).bops)
    assert str(report).splitlines() == [
        'model: 16 convolutions binarized (structure bireal, activation sign, weights binary)',
        '  real: conv1 (stem)',
        '  real: layer2.0.downsample.0, layer3.0.downsample.0, layer4.0.downsample.0 (stage transition)',
        '  real: fc (classifier)',
        '  removed: relu',
        '  memory 374.1 -> 33.5 Mbit (11.16x), bit-operations 1.16e+11 -> 1.05e+10 (11.06x) on 3x224x224',
    ]


def test_the_reports_shape_is_the_models_own():
    with torch.device('meta'):
        model = timm.create_model('resnet14t')
    assert binarize(model).before.shape == (3, 176, 176)


def test_the_filter_keeps_convolutions_real_behind_a_leaky_clip():
    model, asked = tiny_basic(), {}

    def two_of_them(name, module):
        asked[name] = module
        return name.endswith('conv2')

    convs = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    report = binarize(model, filter=two_of_them, shape=(3, 32, 32))
    assert asked == {name: convs[name] for name in asked}
    assert set(asked) == {f'layer{i}.0.conv{k}' for i in (1, 2, 3, 4) for k in (1, 2)}
    assert set(report.binarized) == {f'layer{i}.0.conv2' for i in (1, 2, 3, 4)}
    block, x = model.eval().layer1[0], torch.randn(1, 64, 8, 8)
    clipped = torch.where(x.abs() > 1, 0.1 * x + 0.9 * x.sign(), x)
    y = block.bn1(nn.functional.conv2d(clipped, block.conv1.weight, padding=1)) + x
    torch.testing.assert_close(block(x), block.bn2(block.conv2(y)) + y)


def test_a_config_or_its_fields_say_what_it_becomes():
    config = BiRealConfig(conv='XNORConv2d', sign='ThirdOrder', weights='step1')
    model = tiny_basic()
    binarize(model, config, activation='relu', shape=(3, 32, 32))
    assert {(type(c), repr(c.surrogate), repr(c.activation)) for _, c in binary_convolutions(model)} == {
        (XNORConv2d, 'ThirdOrder()', 'ReLU()')
    }
    assert not any(conv.binary_weight or conv.binary_input for _, conv in binary_convolutions(model))


@pytest.mark.parametrize('conv', ['XNORConv2d', dict(type='ABCConv2d', weight_bases=2, activation_bases=2)])
def test_other_convolutions_train_too(conv):
    torch.manual_seed(0)
    model = tiny_basic()
    report = binarize(model, conv=conv, shape=(3, 32, 32))
    assert {name.rpartition('.')[2] for name in report.new_parameters} <= {'shift', 'scale'}
    model(images(32)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_stages_switch_as_in_any_bireal_network():
    model = tiny_bottleneck()
    binarize(model, activation='clip', weights='real', shape=(3, 32, 32))
    direct = copy.deepcopy(model)
    set_activation(model, 'sign')
    set_weights(model, 'binary')
    for _, conv in binary_convolutions(direct):
        conv.binary_input = conv.binary_weight = True
    assert torch.equal(model.eval()(images(32)), direct.eval()(images(32)))


def test_modes_and_hooks_stay():
    model = tiny_bottleneck()
    model.layer1.eval()
    model.layer2[0].bn1.eval()
    seen = []
    handles = [
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
        for name in ('relu', 'layer1.0', 'layer1.0.conv2', 'layer1.0.bn2', 'layer2')
    ]
    modes = {name: module.training for name, module in model.named_modules()}
    binarize(model, shape=(3, 32, 32))
    assert seen == []
    assert {name: m.training for name, m in model.named_modules() if name in modes}.items() <= modes.items()
    assert not any(module.training for module in model.layer1.modules() if not isinstance(module, nn.Identity))
    model(images(32))
    assert seen == ['relu', 'layer1.0.conv2', 'layer1.0.bn2', 'layer1.0', 'layer2']
    for handle in handles:
        handle.remove()
    model(images(32))
    assert len(seen) == 5


def copied(model):
    return copy.deepcopy(model)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def compiled(model):
    return torch.compile(model, backend='aot_eager', fullgraph=SECOND_STREAM_TRACED)


def compiled_by_stage(model):
    for stage in (model.layer1, model.layer2):
        stage.compile(backend='eager', fullgraph=SECOND_STREAM_TRACED)
    return model


def exported(model):
    return torch.export.export(model, (images(32),), strict=False).module()  # the default of later versions


def channels_last(model):
    return model.to(memory_format=torch.channels_last)


@pytest.mark.parametrize('way', [copied, pickled, compiled, compiled_by_stage, exported, channels_last])
def test_two_streams_survive(way):
    torch.manual_seed(0)
    model = MiniResNet()
    binarize(model, shape=(3, 32, 32))
    model.eval()
    expected = model(images(32))
    torch.testing.assert_close(way(model)(images(32)), expected)


def gradients(model, run, x):
    model.zero_grad()
    run(x).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize('every', ['stage', 'block'])
def test_two_streams_survive_checkpointing_of_two_passes(every):
    torch.manual_seed(0)
    model = tiny_bottleneck().eval()
    binarize(model, shape=(3, 32, 32))

    def run(x):
        x = model.maxpool(model.bn1(model.conv1(x)))
        for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
            for part in [stage] if every == 'stage' else stage:
                x = checkpoint(part, x, use_reentrant=False)
        return model.fc(x.mean((2, 3)))

    def twice(forward):
        return lambda x: forward(x) * forward(x.flip(0))

    expected = gradients(model, twice(model), images(32))
    for name, gradient in gradients(model, twice(run), images(32)).items():
        torch.testing.assert_close(gradient, expected[name])


def test_timms_gradient_checkpointing_and_features():
    torch.manual_seed(0)
    model = timm.create_model('resnet26', num_classes=3)
    binarize(model, shape=(3, 32, 32))
    model.eval()
    plain = gradients(model, model, images(32))
    model.set_grad_checkpointing()
    for name, gradient in gradients(model, model, images(32)).items():
        torch.testing.assert_close(gradient, plain[name])
    levels = model.forward_intermediates(images(32), intermediates_only=True)
    assert [level.shape[1] for level in levels] == [64, 256, 512, 1024, 2048]
    torch.testing.assert_close(model.forward_head(levels[-1]), model(images(32)))


@pytest.mark.parametrize('indices', [(0, 1, 2, 3, 4), (1, 2)])
def test_a_feature_extractor_of_timm_converts(indices):
    torch.manual_seed(0)
    features = timm.create_model('resnet26', features_only=True, out_indices=indices)
    whole = timm.create_model('resnet26')
    whole.load_state_dict(features.state_dict(), strict=False)
    torch.manual_seed(1)
    binarize(whole, shape=(3, 32, 32))
    torch.manual_seed(1)
    binarize(features, shape=(3, 32, 32))
    whole.load_state_dict(features.state_dict(), strict=False)
    expected = whole.eval().forward_intermediates(images(32), indices=indices, intermediates_only=True)
    for a, b in zip(features.eval()(images(32)), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_broken_row_of_blocks_is_told():
    model = tiny_bottleneck()
    binarize(model, shape=(3, 32, 32))
    model.layer1.register_forward_hook(lambda module, x, y: y + 0)
    with pytest.raises(InputError, match=r'layer2\.0: the feature map does not carry its second stream'):
        model(images(32))


def test_the_resnet_within_a_model_is_found():
    model = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3)
    report = binarize(model, shape=(3, 32, 32))
    assert report.host == 'backbone'
    assert all(name.startswith('backbone.layer') for name in report.binarized)
    assert not any(isinstance(module, BinaryConv2d) for module in model.classifier.modules())
    assert model.eval()(images(32))['out'].shape == (2, 3, 32, 32)


@pytest.mark.parametrize('depth', [18, 50])
def test_mmdets_freezing_still_works(depth):
    pytest.importorskip('mmdet')
    from tests.models.hosts import mmdet_resnet

    model = mmdet_resnet(depth, frozen_stages=1, norm_eval=True)
    report = binarize(model, shape=(3, 32, 32))
    model.train()
    assert not any(p.requires_grad for p in model.layer1.parameters())
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    model(images(32))[-1].sum().backward()
    assert all((p.grad is None) == name.startswith(('conv1', 'bn1', 'layer1')) for name, p in model.named_parameters())
    assert len(report.binarized) == (16 if depth == 18 else 47)
