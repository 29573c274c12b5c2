import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, XNORConv2d, set_activation, set_weights
from bireal_plugin.cost import model_cost, representable_values
from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales

DEPTHS = (18, 34)
NETWORKS = ('bireal', 'xnor', 'real')
# Of the paper, as printed; None stands where it prints another figure, see the reason beside it.
MEMORY = {18: ('33.6', '33.7', '374.1'), 34: ('43.7', '43.9', '697.3')}  # Mbit
SAVING = {18: ('11.14', '11.10'), 34: ('15.97', '15.88')}
BOPS = {
    # 1.04e10, which is 1.0495e10 cut off; its speed-up below is that of 1.0495e10.
    18: (None, '1.07e+10', '1.16e+11'),
    # 1.24e10, although 2.34e11 over its speed-up below is 1.23e10.
    34: (None, '1.27e+10', '2.34e+11'),
}
SPEED_UP = {18: ('11.06', '10.86'), 34: ('18.99', '18.47')}


def on_meta(name, **options):
    with torch.device('meta'):
        return timm.create_model(name, **options)


def costs(depth):
    """Costs of NETWORKS at a depth, for images of 224 x 224."""
    xnor = on_meta(f'bireal_resnet{depth}', conv='XNORConv2d')
    return [model_cost(model) for model in (on_meta(f'bireal_resnet{depth}'), xnor, on_meta(f'resnet{depth}'))]


@pytest.mark.parametrize('depth', DEPTHS)
def test_bit_operations_are_those_of_table_5(depth):
    bops = [cost.bops for cost in costs(depth)]
    printed = [printed and f'{value:.2e}' for value, printed in zip(bops, BOPS[depth], strict=True)]
    assert tuple(printed) == BOPS[depth]
    assert tuple(f'{bops[2] / value:.2f}' for value in bops[:2]) == SPEED_UP[depth]


@pytest.mark.parametrize('depth', DEPTHS)
def test_memory_is_that_of_table_5_with_the_papers_other_parameters(depth):
    """Not even its ResNet-34, 697.3 Mbit, is torchvision's of 21 797 672 parameters, which are 697.5.

    All ten figures of memory come out for any one number from 11 110 to 11 540 in the place of the parameters of
    BatchNorm, which are 9 600 at 18 layers and 17 024 at 34.
    """
    norms = {18: 9600, 34: 17024}[depth]
    mbit = [(cost.memory_bits + 32 * (11_300 - norms)) / 1e6 for cost in costs(depth)]
    assert tuple(f'{value:.1f}' for value in mbit) == MEMORY[depth]
    assert tuple(f'{mbit[2] / value:.2f}' for value in mbit[:2]) == SAVING[depth]


@pytest.mark.parametrize(('depth', 'kernels', 'mbit'), [(18, 3840, '0.1'), (34, 7552, '0.2')])
def test_xnor_nets_memory_has_its_alphas(depth, kernels, mbit):
    bireal, xnor, _ = costs(depth)
    assert xnor.memory_bits - bireal.memory_bits == 32 * kernels
    assert f'{32 * kernels / 1e6:.1f}' == mbit == f'{float(MEMORY[depth][1]) - float(MEMORY[depth][0]):.1f}'


def test_absorbed_alphas_cost_nothing_more():
    model = timm.create_model('bireal_resnet18', conv='XNORConv2d')
    outputs = 4 * (64 * 56**2 + 128 * 28**2 + 256 * 14**2 + 512 * 7**2)
    before = model_cost(model)
    absorb_scales(model, (1, 3, 64, 64))
    after = model_cost(model)
    assert before.real_parameters - after.real_parameters == 3840
    assert before.real_macs - after.real_macs == outputs


# Real parameters of the second stream's transitions: 1x1 convolutions between the widths of the stages.
STREAM = 64 * 128 + 128 * 256 + 256 * 512


def test_deep_networks_have_the_second_streams_transitions_more_than_a_resnet():
    bireal, real = (model_cost(on_meta(name)) for name in ('bireal_resnet50', 'resnet50'))
    assert bireal.second_stream.real_parameters == STREAM == 172_032
    assert bireal.second_stream.real_macs == 64 * 128 * 56**2 + 128 * 256 * 28**2 + 256 * 512 * 14**2
    more = bireal.real_parameters + bireal.binary_parameters - real.real_parameters
    assert more == STREAM
    assert model_cost(on_meta('bireal_resnet18')).second_stream is None


def transition(before, after):
    """A real 1x1 convolution and its BatchNorm."""
    return before * after + 2 * after


# 'plain' has no transitions of the shortcut.
BASIC = transition(64, 128) + transition(128, 256) + transition(256, 512)
WIDE = transition(64, 256) + transition(256, 512) + transition(512, 1024) + transition(1024, 2048)


@pytest.mark.parametrize(
    ('depth', 'structure', 'more'),
    [
        *[(depth, structure, 0) for depth in (18, 34) for structure in ('bireal', 'resnet')],
        *[(depth, 'plain', -BASIC) for depth in (18, 34)],
        *[(50, 'bireal', STREAM), (50, 'resnet', 0), (50, 'plain', -WIDE)],
    ],
)
def test_structures_differ_from_a_resnet_in_real_transitions_alone(depth, structure, more):
    cost = model_cost(on_meta(f'bireal_resnet{depth}', structure=structure))
    assert cost.real_parameters + cost.binary_parameters == model_cost(on_meta(f'resnet{depth}')).real_parameters + more
    assert cost.binary_parameters == model_cost(on_meta(f'bireal_resnet{depth}')).binary_parameters
    words = f'{abs(more):,}'.replace(',', ' ')
    assert not more or words in (Path(__file__).parents[1] / 'docs' / 'backbone.md').read_text()


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
SCALED = 2 * 12 * 3 * 5  # every output times alpha and K


@pytest.mark.parametrize(
    ('layer', 'options', 'expected'),
    [
        (nn.Conv2d, {}, (0, WEIGHTS + 12, 0, MACS)),
        (BinaryConv2d, {}, (WEIGHTS, 12, MACS, 0)),
        (BinaryConv2d, dict(binary_weight=False), (0, WEIGHTS + 12, 0, MACS)),
        (BinaryConv2d, dict(binary_input=False), (0, WEIGHTS + 12, 0, MACS)),
        (XNORConv2d, {}, (WEIGHTS, 12 + 12, MACS, SCALED)),
        (XNORConv2d, dict(weight='Sign'), (WEIGHTS, 12, MACS, SCALED // 2)),
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
    assert 'narrow_shortcut' not in ended.out
    *_, stream = run_tool('cost.py', 'timm:bireal_resnet50').out.splitlines()
    assert 'is 172,032 of the real parameters and 77,070,336 of the real MACs' in stream
    assert ' 1x16x16 ' in run_tool('cost.py', tiny_config).out
    assert ' 1x64x32 ' in run_tool('cost.py', tiny_config, '--size', '64', '32').out


@pytest.mark.parametrize(('source', 'sentence'), [('timm:resnet1', "no model 'resnet1'"), ('no.py', 'does not exist')])
def test_the_command_refuses_what_is_not_there(run_tool, source, sentence):
    ended = run_tool('cost.py', source)
    assert ended.status == 1
    assert sentence in ended.err


def test_representable_values_are_those_of_the_papers_sections_3_1_to_3_3():
    conv = BinaryConv2d(32, 32, 3)
    assert representable_values(conv) == 289
    assert representable_values(conv, conv) == 289**2
    block = on_meta('bireal_resnet50').layer1[1]
    assert [representable_values(layer) for layer in (block.conv1, block.conv2, block.conv3)] == [257, 577, 65]


def test_representable_values_are_those_that_occur():
    torch.manual_seed(0)
    first, second = (BinaryConv2d(1, 1, 3, weight='Sign', bias=False) for _ in range(2))
    rows = torch.arange(512)[:, None] >> torch.arange(9) & 1
    every = (2.0 * rows - 1).view(512, 1, 3, 3)  # every pattern of nine signs
    one, two = first(every).flatten(), second(every).flatten() * 0.1234  # a BatchNorm's scale
    assert len(one.unique()) == representable_values(first) == 10
    assert len((one[:, None] + two).flatten().unique()) == representable_values(first, second) == 100
