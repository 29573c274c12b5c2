import re

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, XNORConv2d, set_activation, set_weights
from bireal_plugin.cost import model_cost
from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError

TABLE_5 = {  # Mbit, BOPs
    'bireal_resnet18': (33.6, 1.04e10),
    'xnor_resnet18': (33.7, 1.07e10),
    'resnet18': (374.1, 1.16e11),
    'bireal_resnet34': (43.7, 1.24e10),
    'xnor_resnet34': (43.9, 1.27e10),
    'resnet34': (697.3, 2.34e11),
}


def on_meta(name, **options):
    with torch.device('meta'):
        return timm.create_model(name, **options)


def network(name):
    if name.startswith('xnor'):
        return on_meta(name.replace('xnor', 'bireal'), conv='XNORConv2d')
    return on_meta(name)


@pytest.mark.parametrize('name', TABLE_5)
def test_totals_are_those_of_the_papers_table_5(name):
    cost = model_cost(network(name), (3, 224, 224))
    assert (cost.memory_bits / 1e6, cost.bops) == pytest.approx(TABLE_5[name], rel=0.01)


@pytest.mark.parametrize(('depth', 'memory', 'speed'), [(18, 11.14, 11.06), (34, 15.97, 18.99)])
def test_savings_are_those_of_the_papers_table_5(depth, memory, speed):
    binary, real = (model_cost(on_meta(name)) for name in (f'bireal_resnet{depth}', f'resnet{depth}'))
    assert real.memory_bits / binary.memory_bits == pytest.approx(memory, rel=0.005)
    assert real.bops / binary.bops == pytest.approx(speed, rel=0.001)


@pytest.mark.parametrize('name', ['resnet50', 'mobilenetv3_small_050', 'convnext_atto'])
def test_real_macs_are_half_of_torchs_flops(name):
    model = on_meta(name).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device='meta'))
    cost = model_cost(model, (3, 224, 224))
    assert (2 * cost.real_macs, cost.binary_macs) == (counter.get_total_flops(), 0)
    assert cost.real_parameters == sum(p.numel() for p in model.parameters())


# One layer on 6 x 10 pixels: 8 -> 12 channels in 2 groups, 3x3, stride 2, hence 3 x 5 pixels out.
WEIGHTS, MACS = 12 * 4 * 9, 12 * 3 * 5 * 4 * 9
K = 8 * 6 * 10 + 2 * 3 * 5 * 9 + 12 * 3 * 5  # mean over channels, box filter, product


@pytest.mark.parametrize(
    ('layer', 'options', 'expected'),
    [
        (nn.Conv2d, {}, (0, WEIGHTS + 12, 0, MACS)),
        (BinaryConv2d, {}, (WEIGHTS, 12, MACS, 0)),
        (BinaryConv2d, dict(binary_weight=False), (0, WEIGHTS + 12, 0, MACS)),
        (BinaryConv2d, dict(binary_input=False), (0, WEIGHTS + 12, 0, MACS)),
        (XNORConv2d, {}, (WEIGHTS, 12, MACS, K)),
        (XNORConv2d, dict(binary_input=False, binary_weight=False), (0, WEIGHTS + 12, 0, MACS)),
        (ABCConv2d, dict(weight_bases=3, activation_bases=5), (3 * WEIGHTS, 12 + 2 * 5 + 3, 15 * MACS, 0)),
        (
            ABCConv2d,
            dict(weight_bases=2, activation_bases=1, per='channel'),
            (2 * WEIGHTS, 12 + 2 * 1 + 2 * 12, 2 * MACS, 0),
        ),
    ],
)
def test_a_layer_counts_by_its_switches(layer, options, expected):
    cost = model_cost(layer(8, 12, 3, stride=2, padding=1, groups=2, **options), (8, 6, 10))
    assert (cost.binary_parameters, cost.real_parameters, cost.binary_macs, cost.real_macs) == expected
    assert cost.memory_bits == expected[0] + 32 * expected[1]
    assert cost.bops == expected[2] + 64 * expected[3]


def test_a_pre_training_network_costs_what_a_real_one_does():
    model = on_meta('bireal_resnet18')
    set_activation(model, 'clip')
    set_weights(model, 'real')
    real, cost = model_cost(on_meta('resnet18'), (3, 64, 64)), model_cost(model, (3, 64, 64))
    assert (cost.bops, cost.memory_bits) == (real.bops, real.memory_bits)


class Twice(nn.Module):
    """One layer called twice, and its weight used by another."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1, bias=False)
        self.tied = nn.ConvTranspose2d(4, 4, 1, stride=2, bias=False)
        self.tied.weight = self.conv.weight

    def forward(self, x):
        return self.tied(self.conv(self.conv(x)))


def test_calls_add_up_and_shared_weights_count_once():
    cost = model_cost(Twice(), (4, 5, 5))
    assert (cost.real_parameters, cost.real_macs) == (16, 3 * 16 * 25)


def test_the_model_is_not_run_and_not_changed():
    model = torchvision.models.resnet18()
    calls = []
    model.layer1.register_forward_hook(lambda *_: calls.append(1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model_cost(model, (3, 64, 64))
    assert calls == []
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_table_adds_up():
    cost = model_cost(on_meta('bireal_resnet18'))
    header, _, *rows = (re.split(r'\s{2,}', line) for line in cost.table().splitlines())
    assert header[-1] == 'BOPs'
    *layers, total = ([float(cell.replace(',', '')) for cell in row[2:]] for row in rows)
    assert len(layers) == 16 + 1 + 3 + 1 + 1  # binary, stem, transitions, classifier, all others
    for column, exact in ((0, cost.binary_parameters), (1, cost.real_parameters), (3, cost.binary_macs)):
        assert sum(row[column] for row in layers) == total[column] == exact


def test_input_shape_is_the_models_own_or_asked_for():
    assert input_shape(on_meta('efficientnet_b3')) == (3, 288, 288)
    assert input_shape(nn.Sequential(nn.Conv2d(6, 8, 3, groups=2))) == (6, 224, 224)
    with pytest.raises(InputError, match='give shape='):
        model_cost(nn.Linear(3, 3))


def test_the_command_prints_the_table(run_tool, tiny_config):
    ended = run_tool('cost.py', 'timm:resnet18', '--shape', '64', '64')
    told, _, table = ended.out.partition('\n')
    assert told == 'timm:resnet18: images of 64 x 64 (as --size says)'
    assert table.strip() == model_cost(on_meta('resnet18'), (3, 64, 64)).table()
    assert ' 1x16x16 ' in run_tool('cost.py', tiny_config).out
    assert ' 1x64x32 ' in run_tool('cost.py', tiny_config, '--size', '64', '32').out


@pytest.mark.parametrize(('source', 'sentence'), [('timm:resnet1', "no model 'resnet1'"), ('no.py', 'does not exist')])
def test_the_command_refuses_what_is_not_there(run_tool, source, sentence):
    ended = run_tool('cost.py', source)
    assert ended.status == 1
    assert sentence in ended.err
