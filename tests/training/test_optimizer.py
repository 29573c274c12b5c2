"""Optimizer groups: by type, complete, the same in every stage, and no decay on latent weights."""

import math
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from bireal_plugin import BinaryConv2d, InputError
from bireal_plugin.training import BinaryOptimWrapperConstructor
from bireal_plugin.training.recipe import stage_config, stage_model

BASIC, BOTTLENECK = 'configs/bireal_r18_digits.py', 'configs/bireal_r50_imagenet.py'
STAGES = [(config, stage) for config in (BASIC, BOTTLENECK) for stage in Config.fromfile(config).stages]
SGD = dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)


def built(model, paramwise_cfg=None):
    """The optimizer's groups, ``{name: group}``."""
    wrapper = BinaryOptimWrapperConstructor(dict(optimizer=SGD), paramwise_cfg)(model)
    return {group['name']: group for group in wrapper.optimizer.param_groups}


def group_by_name(parameter, bottleneck):
    """The group that a parameter of a Bi-Real classifier belongs to, from its name alone."""
    if parameter.startswith('fc.'):
        return 'linear'
    if re.search(r'(bn\d|downsample\.2)\.', parameter):
        return 'norm'
    if bottleneck and parameter == 'backbone.layer1.0.conv1.weight':
        return 'real_conv'
    return 'binary_conv' if re.search(r'layer\d\.\d+\.conv\d\.', parameter) else 'real_conv'


@pytest.mark.parametrize(('config', 'stage'), STAGES)
def test_every_stage_has_the_same_complete_groups(config, stage):
    with torch.device('meta'):
        model = stage_model(Config.fromfile(config), stage)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    members = {name: [names[id(each)] for each in group['params']] for name, group in built(model).items()}
    expected = {group: [] for group in ('binary_conv', 'real_conv', 'norm', 'linear')}
    for name in names.values():
        expected[group_by_name(name, config == BOTTLENECK)].append(name)
    assert members == expected


@pytest.mark.parametrize(('config', 'stage'), STAGES)
def test_latent_weights_decay_in_real_stages_only(config, stage):
    with torch.device('meta'):
        model = stage_model(Config.fromfile(config), stage)
    decay = {name: group['weight_decay'] for name, group in built(model).items()}
    real = stage in ('float', 'leaky_clip', 'clip')
    assert decay == dict(binary_conv=1e-4 if real else 0.0, real_conv=1e-4, norm=1e-4, linear=1e-4)


@pytest.mark.parametrize('config', [BASIC, BOTTLENECK, 'configs/baselines/react_r18_fashion_mnist.py'])
def test_the_bn_stage_trains_nothing_but_norms(config):
    stage = stage_config(Config.fromfile(config), 'bn')
    with torch.device('meta'):
        wrapper = build_optim_wrapper(stage_model(stage), stage.optim_wrapper)
    assert {group['name'] for group in wrapper.optimizer.param_groups if group['lr'] > 0} == {'norm'}


def test_the_bn_stage_trains_the_classifier_on_request():
    config = Config.fromfile(BASIC)
    config.merge_from_dict({'stages.bn.optim_wrapper.paramwise_cfg.linear.lr_mult': 1.0})
    stage = stage_config(config, 'bn')
    wrapper = build_optim_wrapper(stage_model(stage), stage.optim_wrapper)
    assert {group['name'] for group in wrapper.optimizer.param_groups if group['lr'] > 0} == {'norm', 'linear'}


@pytest.mark.parametrize(('binary_input', 'binary_weight'), [(False, True), (True, False), (True, True)])
def test_one_binary_convolution_stops_the_decay_of_all(binary_input, binary_weight):
    real = BinaryConv2d(2, 2, 1, binary_input=False, binary_weight=False)
    model = nn.Sequential(real, BinaryConv2d(2, 2, 1, binary_input=binary_input, binary_weight=binary_weight))
    assert built(model)['binary_conv']['weight_decay'] == 0.0


def test_multipliers_scale_their_group_alone():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 2), nn.PReLU())
    options = dict(norm=dict(decay_mult=0.0), linear=dict(lr_mult=10.0), other=dict(lr_mult=0.5, decay_mult=2.0))
    groups = built(model, options)
    assert {name: (group['lr'], group['weight_decay']) for name, group in groups.items()} == dict(
        real_conv=(0.1, 1e-4), norm=(0.1, 0.0), linear=(1.0, 1e-4), other=(0.05, 2e-4)
    )


def test_shared_parameters_come_once():
    first, second = BinaryConv2d(2, 2, 3), BinaryConv2d(2, 2, 3)
    second.weight = first.weight
    plain = second.to_float()
    groups = built(nn.Sequential(first, second, plain))
    members = [id(parameter) for group in groups.values() for parameter in group['params']]
    assert sorted(members) == sorted({id(first.weight), id(first.bias), id(second.bias)})


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert list(built(model)) == ['linear']


@pytest.mark.parametrize(
    'paramwise_cfg',
    [dict(binary_convs=dict(lr_mult=0.0)), dict(norm=dict(lr=0.0)), dict(norm_decay_mult=dict())],
    ids=['group', 'option', 'mmengine'],
)
def test_unknown_group_or_option_is_refused(paramwise_cfg):
    with pytest.raises(InputError, match='the groups are binary_conv, real_conv, norm, linear, other'):
        BinaryOptimWrapperConstructor(dict(optimizer=SGD), paramwise_cfg)


@pytest.mark.parametrize(
    ('optimizer', 'decay'),
    [
        (dict(type='AdamW', lr=1e-3), 0.01),
        (dict(type='AdamW', lr=1e-3, weight_decay=0.3), 0.3),
        (dict(type='AdamW', lr=1e-3, weight_decay=0.0), 0.0),
        (dict(type=torch.optim.AdamW, lr=1e-3), 0.01),
        (dict(type='Adam', lr=1e-3), 0.0),
        (dict(type='SGD', lr=0.1), 0.0),
        (dict(type='RMSprop'), 0.0),
    ],
    ids=str,
)
def test_decay_is_the_optimizers_own_where_the_config_says_none(optimizer, decay):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), BinaryConv2d(4, 4, 3))
    wrapper = BinaryOptimWrapperConstructor(dict(optimizer=optimizer), dict(norm=dict(decay_mult=0.5)))(model)
    found = {group['name']: group['weight_decay'] for group in wrapper.optimizer.param_groups}
    assert found == dict(real_conv=decay, norm=0.5 * decay, binary_conv=0.0)


@pytest.mark.parametrize('dtype', [None, 'bfloat16', torch.bfloat16])
def test_amp_on_a_cpu_multiplies_in_bfloat16_and_steps_in_float32(dtype):
    """The gradient of a linear layer is that of inputs and weights rounded to bfloat16; its update is exact."""
    torch.manual_seed(0)
    model = nn.Linear(64, 8, bias=False)
    x, before = torch.randn(4, 64), model.weight.detach().clone()
    config = dict(type='AmpOptimWrapper', dtype=dtype, optimizer=dict(type='SGD', lr=0.5))
    wrapper = build_optim_wrapper(model, config)
    with wrapper.optim_context(model):
        out = model(x)
        assert out.dtype == torch.bfloat16
        loss = out.float().square().sum()
    wrapper.update_params(loss)
    rounded = (x.bfloat16().float() @ before.bfloat16().float().T).bfloat16().float()
    gradient = ((2 * rounded).bfloat16().float().T @ x.bfloat16().float()).bfloat16().float()
    torch.testing.assert_close(model.weight.detach(), before - 0.5 * gradient, rtol=0, atol=0.02)
    assert model.weight.dtype == torch.float32
    assert (model.weight.detach() - before).abs().max() > 1


def test_amp_on_a_cpu_refuses_float16():
    with pytest.raises(InputError, match="a CPU trains in dtype='bfloat16', not in float16"):
        build_optim_wrapper(nn.Linear(1, 1), dict(type='AmpOptimWrapper', dtype='float16', optimizer=SGD))


@pytest.mark.parametrize('conv', ['BinaryConv2d', 'XNORConv2d', 'ABCConv2d'])
def test_amp_trains_every_kind_of_convolution_on_a_cpu(conv):
    torch.manual_seed(0)
    backbone = dict(
        type='BiRealResNet', depth=18, base_channels=4, in_channels=1, stem='cifar', out_indices=(3,), conv=conv
    )
    model = MODELS.build(dict(type='BiRealClassifier', backbone=backbone, num_classes=3))
    slow = {**SGD, 'lr': 0.01}  # every one of 20 seeds learns, with the products of AVX2 as with those of AVX-512
    config = dict(type='AmpOptimWrapper', constructor='BinaryOptimWrapperConstructor', optimizer=slow)
    wrapper = build_optim_wrapper(model, config)
    batch = dict(inputs=torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8), labels=torch.arange(6) % 3)
    before = {name: value.clone() for name, value in model.named_parameters()}
    losses = [model.train_step(batch, wrapper)['loss'].item() for _ in range(24)]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-8:]) / 8 < 0.9 * losses[0]
    still = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    assert still == set()
