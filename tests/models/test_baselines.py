import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, RPReLU, XNORConv2d, binary_convolutions
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import conv_norm_pairs
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from bireal_plugin.training.optimizer import BinaryOptimWrapperConstructor
from bireal_plugin.training.recipe import check_stages, stage_config, stage_model
from tests.models import naive

CONFIGS = Path(__file__).parents[2] / 'configs' / 'baselines'
STRUCTURES = ['bireal', 'resnet', 'plain']
SYSTEMS = {
    'binarynet': dict(sign='STE', weight='Sign'),
    'xnor': dict(conv='XNORConv2d'),
    'abc': dict(conv=dict(type='ABCConv2d', weight_bases=2, activation_bases=2)),
    'react': dict(rsign=True, rprelu=True),
}
TINY = dict(base_channels=4, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,), stem='cifar')


def missing_gradients(net, x):
    net(x)[-1].square().sum().backward()
    return [name for name, p in net.named_parameters() if p.grad is None]


@pytest.mark.parametrize('system', SYSTEMS)
@pytest.mark.parametrize('structure', STRUCTURES)
@pytest.mark.parametrize('depth', [18, 50])
def test_every_parameter_gets_a_gradient(depth, structure, system):
    torch.manual_seed(0)
    net = BiRealResNet(depth, base_channels=4, structure=structure, **SYSTEMS[system])
    assert missing_gradients(net, torch.randn(2, 3, 32, 32)) == []


@pytest.mark.parametrize('system', SYSTEMS)
def test_the_loss_falls(system):
    torch.manual_seed(0)
    net = BiRealClassifier(BiRealResNet(18, in_channels=1, **TINY, **SYSTEMS[system]), num_classes=2)
    # A brighter left or right half, in noise.
    labels = torch.arange(16) % 2
    images = 0.5 * torch.randn(16, 1, 8, 8)
    images[labels == 0, :, :, :4] += 1
    images[labels == 1, :, :, 4:] += 1
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = net(images, labels, mode='loss')['loss']
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ('conv', 'layer', 'surrogate', 'binarizer'),
    [
        ('BinaryConv2d', BinaryConv2d, 'ApproxSign()', "MagnitudeAware(per='channel')"),
        ('XNORConv2d', XNORConv2d, 'STE()', 'XNORWeight()'),
        (dict(type='ABCConv2d', weight_bases=5, per='channel'), ABCConv2d, 'STE()', "WeightBases(5, per='channel')"),
        (dict(type='BinaryConv2d', sign='ThirdOrder'), BinaryConv2d, 'ThirdOrder()', "MagnitudeAware(per='channel')"),
    ],
)
def test_each_convolution_brings_its_own_mathematics(conv, layer, surrogate, binarizer):
    net = BiRealResNet(18, **TINY, conv=conv)
    found = {(type(m), repr(m.surrogate), repr(m.weight_binarizer)) for _, m in binary_convolutions(net)}
    assert found == {(layer, surrogate, binarizer)}


def test_the_backbones_sign_and_weight_go_before_the_convolutions_own():
    net = BiRealResNet(18, **TINY, conv=dict(type='XNORConv2d', sign='STE'), sign='ApproxSign', weight='Sign')
    assert {(repr(m.surrogate), repr(m.weight_binarizer)) for _, m in binary_convolutions(net)} == {
        ('ApproxSign()', 'Sign()')
    }


def react_names(depth):
    """The names that the options add, from the blocks' convolutions."""
    names = set()
    for name, conv in BiRealResNet(depth, **TINY).named_modules():
        block, _, layer = name.rpartition('.')
        if block.startswith('layer') and layer.startswith('conv'):
            names |= {f'{block}.rprelu{layer[4:]}.{key}' for key in ('gamma', 'slope', 'zeta')}
            names |= {f'{block}.shift{layer[4:]}'} if isinstance(conv, BinaryConv2d) else set()
    return names


@pytest.mark.parametrize('structure', STRUCTURES)
@pytest.mark.parametrize('depth', [18, 50])
def test_reactnets_options_add_their_names_and_nothing_else(depth, structure):
    plain = BiRealResNet(depth, **TINY, structure=structure)
    both = BiRealResNet(depth, **TINY, structure=structure, **SYSTEMS['react'])
    assert set(both.state_dict()) - set(plain.state_dict()) == react_names(depth)
    assert set(plain.state_dict()) <= set(both.state_dict())
    assert not any(isinstance(m, RPReLU) for m in plain.modules())


@pytest.mark.parametrize('system', ['abc', 'react'])
@pytest.mark.parametrize('depth', [18, 50])
def test_real_stages_have_the_same_state_dict(depth, system):
    real = BiRealResNet(depth, **TINY, activation='relu', weights='real', **SYSTEMS[system])
    binary = BiRealResNet(depth, **TINY, **SYSTEMS[system])
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (real, binary)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize('structure', STRUCTURES)
def test_reactnets_options_train_in_real_stages_too(structure):
    net = BiRealResNet(50, **TINY, structure=structure, activation='clip', weights='real', **SYSTEMS['react'])
    assert missing_gradients(net, torch.randn(2, 3, 16, 16)) == []


def scattered(net):
    torch.manual_seed(0)
    for parameter in net.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.2, 1)
    return net.double().eval()


def rprelu(y, block, k):
    gamma, slope, zeta = (block[f'rprelu{k}.{key}'].view(-1, 1, 1) for key in ('gamma', 'slope', 'zeta'))
    return torch.where(y > gamma, y - gamma, slope * (y - gamma)) + zeta


def sign_conv(x, block, k, **geometry):
    x = x + block[f'shift{k}'].view(-1, 1, 1) if f'shift{k}' in block else naive.leaky_clip(x)
    weight = block[f'conv{k}.weight']
    convolve = naive.binary_conv if f'shift{k}' in block else F.conv2d
    return naive.batch_norm(convolve(x, weight, **geometry), block, f'bn{k}')


@pytest.mark.parametrize('structure', STRUCTURES)
def test_basic_blocks_are_shift_sign_convolution_norm_addition_rprelu(structure):
    stage = scattered(BiRealResNet(18, **TINY, structure=structure, **SYSTEMS['react'])).layer1
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    expected = x
    for i, module in enumerate(stage):
        block = module.state_dict()
        y = sign_conv(expected, block, 1, padding=1)
        if structure == 'bireal' or (structure == 'resnet' and i % 2 == 0):
            shortcut = expected
        if structure == 'bireal' or (structure == 'resnet' and i % 2 == 1):
            y = y + shortcut
        expected = rprelu(y, block, 1)
    torch.testing.assert_close(stage(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('structure', STRUCTURES)
def test_bottlenecks_are_shift_sign_convolution_norm_addition_rprelu(structure):
    stage = scattered(BiRealResNet(50, **TINY, structure=structure, **SYSTEMS['react'])).layer1
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    narrow = wide = x
    for i, module in enumerate(stage):
        block = module.state_dict()
        a = sign_conv(wide, block, 1)
        a = rprelu(a + narrow if structure == 'bireal' and i > 0 else a, block, 1)
        b = sign_conv(a, block, 2, padding=1)
        b = rprelu(b + a if structure == 'bireal' else b, block, 2)
        c = sign_conv(b, block, 3)
        if structure != 'plain':
            c = c + (wide if i > 0 else module.downsample(wide))
        narrow, wide = b, rprelu(c, block, 3)
    got = stage(x, None)
    expected = (wide, narrow if structure == 'bireal' else None)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_every_convolution_is_still_followed_by_its_batch_norm():
    net = BiRealResNet(50, **TINY, **SYSTEMS['react'])
    pairs = [(name, norm) for name, _, norm in conv_norm_pairs(net)]
    modules = dict(net.named_modules())
    assert all(norm is modules[name.replace('conv', 'bn')] for name, norm in pairs)


def stages(config):
    return {name: stage_model(config, name) for name in config.stages}


@pytest.mark.parametrize('name', [path.stem for path in sorted(CONFIGS.glob('*.py')) if 'distilled' not in path.stem])
def test_a_config_names_its_system_and_stages_chain(name):
    system, depth, data = re.fullmatch(r'(\w+)_r(\d+)_(\w+)', name).groups()
    config, ours = (
        Config.fromfile(path) for path in (CONFIGS / f'{name}.py', CONFIGS.parent / f'bireal_r{depth}_{data}.py')
    )
    with torch.device('meta'):
        nets = stages(config)
    real = ['float', 'leaky_clip', 'clip'] if system != 'binarynet' else []  # BinaryNet's own has none
    assert list(nets) == [*real, 'binary', *(['bn'] if system == 'react' else [])]
    assert epochs(config) == epochs(ours)
    assert len({tuple(net.state_dict()) for net in nets.values()}) == 1
    backbone = nets['binary'].backbone
    kinds = {type(conv) for _, conv in binary_convolutions(backbone)}
    assert kinds == {{'xnor': XNORConv2d, 'abc': ABCConv2d}.get(system, BinaryConv2d)}
    assert backbone.layer1[0].structure == ('bireal' if system == 'react' else 'resnet')
    assert backbone.depth == int(depth)
    images = torch.empty(1, backbone.conv1.in_channels, 32, 32, device='meta')
    assert nets['binary'].eval()(images).shape == (1, config.model.num_classes)


def epochs(config):
    """Epochs of all stages but the last one of Bi-Real, which trains BatchNorm alone."""
    return sum(stage.train_cfg.max_epochs for name, stage in config.stages.items() if name != 'bn')


def test_binarynet_is_not_scheduled_past_its_end():
    for path in CONFIGS.glob('binarynet_*.py'):
        config = Config.fromfile(path)
        for stage in (stage_config(config, name) for name in config.stages):
            schedulers, length = stage.param_scheduler, stage.train_cfg.max_epochs
            scheduler = schedulers[-1] if isinstance(schedulers, list) else schedulers
            assert all(milestone < length for milestone in scheduler.get('milestones', [])), path
            assert scheduler.get('T_max', length) == length, path


def test_a_config_on_top_of_one_without_the_bn_stage_has_none(tmp_path):
    path = tmp_path / 'derived.py'
    text = f'_base_ = {str(CONFIGS / "abc_r18_fashion_mnist.py")!r}\n'
    path.write_text(text + 'stages = dict(binary=dict(train_cfg=dict(max_epochs=7)))')
    config = Config.fromfile(path)
    assert list(config.stages) == ['float', 'leaky_clip', 'clip', 'binary']
    assert config.stages.binary.train_cfg.max_epochs == 7
    assert config.stages.float.train_cfg.max_epochs == 5


def test_absorbing_abc_nets_scales_is_refused_when_the_recipe_is_checked():
    config = Config.fromfile(CONFIGS / 'abc_r18_fashion_mnist.py')
    config.stages.bn = Config.fromfile(CONFIGS / 'react_r18_fashion_mnist.py').stages.bn
    config.pop('val_dataloader')
    with pytest.raises(InputError, match=r"stage bn: .*leave weight='Sign' out"):
        check_stages(config)


def test_reactnets_parameters_do_not_decay_in_any_stage():
    config = Config.fromfile(CONFIGS / 'react_r18_fashion_mnist.py')
    with torch.device('meta'):
        net = stage_model(config, 'float')
    wrapper = dict(stage_config(config, 'float').optim_wrapper)
    wrapper.pop('constructor')
    groups = BinaryOptimWrapperConstructor(wrapper, wrapper.pop('paramwise_cfg')).groups(net)
    decay = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    learned = {name: decay[id(p)] for name, p in net.named_parameters() if 'shift' in name or 'rprelu' in name}
    assert len(learned) == 4 * 16
    assert set(learned.values()) == {0.0}
    assert decay[id(net.fc.weight)] == 1e-4


def test_timm_models_take_the_systems_too():
    import timm

    net = timm.create_model('bireal_resnet18', base_channels=4, **SYSTEMS['react'])
    assert 'layer1.0.shift1' in net.state_dict()
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 1000)


def test_an_unknown_system_is_told():
    with pytest.raises(InputError, match='there are: ABCConv2d, BinaryConv2d, XNORConv2d'):
        MODELS.build(dict(type='BiRealResNet', depth=18, conv='TernaryConv2d'))
