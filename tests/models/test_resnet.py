import pytest
import torch
import torchvision
from mmengine.registry import MODELS
from torch import nn

from bireal_plugin.binary import BinaryConv2d, Clip, LeakyClip, binary_convolutions
from bireal_plugin.errors import InputError
from bireal_plugin.models import BiRealResNet
from tests.models import naive

BASIC = {18: (4, 4, 4, 4), 34: (6, 8, 12, 6)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def randomised(net, seed=0):
    """Statistics and affine parameters away from 0 and 1, so that no wiring error can hide behind them."""
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.double().eval()


@pytest.mark.parametrize('structure', ['bireal', 'resnet', 'plain'])
@pytest.mark.parametrize('depth', [18, 34])
def test_basic_wiring_equals_the_naive_formulation(depth, structure):
    net = randomised(BiRealResNet(depth, base_channels=8, structure=structure))
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    expected = naive.basic_network(x, net.state_dict(), BASIC[depth], structure)
    for got, want in zip(net(x), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('structure', ['bireal', 'resnet', 'plain'])
@pytest.mark.parametrize('depth', [50, 101])
def test_two_stream_wiring_equals_the_naive_formulation(depth, structure):
    net = randomised(BiRealResNet(depth, base_channels=8, structure=structure))
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    expected = naive.bottleneck_network(x, net.state_dict(), BOTTLENECK[depth], structure)
    for got, want in zip(net(x), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ('depth', 'binary', 'real'),
    [
        (18, 10_985_472, 704_040),
        (34, 21_086_208, 711_464),
        # The published module's 5 057 576 include a 64 x 16 shortcut that it never uses.
        (50, 20_672_512, 5_057_576 - 64 * 16),
    ],
)
def test_parameter_counts_are_the_published_ones(depth, binary, real):
    net = BiRealResNet(depth)
    in_binary = sum(conv.weight.numel() for _, conv in binary_convolutions(net))
    linear = (net.num_features + 1) * 1000
    assert in_binary == binary
    assert sum(p.numel() for p in net.parameters()) - in_binary + linear == real


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_every_depth_has_resnets_shapes_and_strides(depth):
    net = BiRealResNet(depth, base_channels=8).eval()
    widths = [8, 16, 32, 64] if depth < 50 else [32, 64, 128, 256]
    with torch.no_grad():
        outputs = net(torch.randn(1, 3, 64, 128))
    assert [tuple(o.shape) for o in outputs] == [
        (1, w, 64 // s, 128 // s) for w, s in zip(widths, [4, 8, 16, 32], strict=True)
    ]
    assert [(info['num_chs'], info['reduction']) for info in net.feature_info] == list(
        zip(widths, [4, 8, 16, 32], strict=True)
    )


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('size', [(33, 47), (65, 31), (97, 130)])
def test_odd_sizes_round_up_like_stride_2_convolutions(depth, size):
    net = BiRealResNet(depth, base_channels=8).eval()
    stock = torchvision.models.get_model(f'resnet{depth}').eval()
    x = torch.randn(1, 3, *size)
    want = []
    y = stock.maxpool(stock.bn1(stock.conv1(x)))
    for layer in (stock.layer1, stock.layer2, stock.layer3, stock.layer4):
        y = layer(y)
        want.append(y.shape[2:])
    with torch.no_grad():
        assert [o.shape[2:] for o in net(x)] == want


def documented_names(depth):
    """torchvision's names under the three documented differences."""
    names = set()
    for key in torchvision.models.get_model(f'resnet{depth}').state_dict():
        if key.startswith('fc.'):
            continue
        parts = key.split('.')
        if 'downsample' in parts:
            parts[3] = str(int(parts[3]) + 1)  # index 0 is the average pool
        if depth < 50 and parts[0].startswith('layer'):
            block = 2 * int(parts[1])  # one convolution per block
            if parts[2] in ('conv2', 'bn2'):
                block, parts[2] = block + 1, parts[2][:-1] + '1'
            parts[1] = str(block)
        names.add('.'.join(parts))
    if depth >= 50:
        names |= {f'layer{stage}.0.narrow_shortcut.weight' for stage in (2, 3, 4)}
    return names


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_state_dict_names_are_torchvisions_but_for_the_documented_ones(depth):
    with torch.device('meta'):
        assert set(BiRealResNet(depth).state_dict()) == documented_names(depth)


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize(('activation', 'weights'), [('relu', 'real'), ('clip', 'real'), ('sign', 'step1')])
def test_every_stage_of_the_recipe_has_the_same_state_dict(depth, activation, weights):
    with torch.device('meta'):
        stage, final = BiRealResNet(depth, activation=activation, weights=weights), BiRealResNet(depth)
    assert {k: v.shape for k, v in stage.state_dict().items()} == {k: v.shape for k, v in final.state_dict().items()}


@pytest.mark.parametrize('structure', ['bireal', 'resnet', 'plain'])
@pytest.mark.parametrize('depth', [18, 50])
def test_every_parameter_gets_a_gradient(depth, structure):
    net = BiRealResNet(depth, base_channels=8, structure=structure)
    net(torch.randn(2, 3, 64, 64))[-1].square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize('depth', [18, 50])
def test_stem_shortcuts_and_first_bottleneck_convolution_stay_real(depth):
    net = BiRealResNet(depth)
    real = {name for name, m in net.named_modules() if type(m) is nn.Conv2d}
    expected = {'conv1', *(f'layer{s}.0.downsample.1' for s in (2, 3, 4))}
    if depth == 50:
        expected |= {'layer1.0.conv1', 'layer1.0.downsample.1', *(f'layer{s}.0.narrow_shortcut' for s in (2, 3, 4))}
    assert real == expected


@pytest.mark.parametrize(('activation', 'layer'), [('relu', nn.ReLU), ('leaky_clip', LeakyClip), ('clip', Clip)])
def test_the_real_activation_stands_before_every_convolution_of_a_block(activation, layer):
    net = BiRealResNet(18, base_channels=8, activation=activation, weights='real')
    assert {type(conv.activation) for _, conv in binary_convolutions(net)} == {layer}
    assert not any(conv.binary_input or conv.binary_weight for _, conv in binary_convolutions(net))


def test_step1_leaves_3x3_weights_real():
    net = BiRealResNet(50, base_channels=8, weights='step1')
    assert {conv.kernel_size: conv.binary_weight for _, conv in binary_convolutions(net)} == {
        (1, 1): True,
        (3, 3): False,
    }


def test_mathematics_is_chosen_by_config():
    net = MODELS.build(
        dict(
            type='BiRealResNet',
            depth=18,
            base_channels=8,
            sign=dict(type='ThirdOrder'),
            weight=dict(type='MagnitudeAware', per='layer'),
        )
    )
    _, conv = next(binary_convolutions(net))
    assert (repr(conv.surrogate), repr(conv.weight_binarizer)) == ('ThirdOrder()', "MagnitudeAware(per='layer')")


def test_cifar_stem_keeps_the_resolution():
    net = BiRealResNet(18, base_channels=8, stem='cifar', in_channels=1).eval()
    assert [o.shape[-1] for o in net(torch.randn(1, 1, 32, 32))] == [32, 16, 8, 4]
    assert net.conv1.weight.shape == (8, 1, 3, 3)


def test_frozen_stages_and_norm_eval_survive_train():
    net = BiRealResNet(18, base_channels=8, frozen_stages=1, norm_eval=True)
    assert net.train() is net
    frozen = {name.split('.')[0] for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {'conv1', 'bn1', 'layer1'}
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert net.layer4[0].conv1.training


def test_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    net = BiRealResNet(50, base_channels=8).train()
    x = torch.randn(2, 3, 64, 64)
    gradients = []
    for with_cp in (False, True):
        net.with_cp = with_cp
        net.zero_grad()
        net(x)[-1].square().sum().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_style_places_the_stride(style):
    block = BiRealResNet(50, base_channels=8, style=style).layer2[0]
    assert (block.conv1.stride[0], block.conv2.stride[0]) == ((1, 2) if style == 'pytorch' else (2, 1))


@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_both_styles_run_with_dilation(style):
    net = BiRealResNet(50, base_channels=8, style=style, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    assert [o.shape[-1] for o in net(torch.randn(2, 3, 64, 64))] == [16, 8, 8, 8]


@pytest.mark.parametrize('norm_cfg', [dict(type='BN', eps=1e-3), dict(type='SyncBN'), dict(type='GN', num_groups=4)])
def test_norm_cfg_reaches_every_norm(norm_cfg):
    net = BiRealResNet(18, base_channels=8, norm_cfg={**norm_cfg, 'requires_grad': False})
    layer = {'BN': nn.BatchNorm2d, 'SyncBN': nn.SyncBatchNorm, 'GN': nn.GroupNorm}[norm_cfg['type']]
    norms = [m for m in net.modules() if isinstance(m, (nn.modules.batchnorm._NormBase, nn.GroupNorm))]
    assert len(norms) == 1 + 16 + 3
    assert {type(m) for m in norms} == {layer}
    assert {m.eps for m in norms} == {norm_cfg.get('eps', 1e-5)}
    assert not any(p.requires_grad for m in norms for p in m.parameters())


def test_zero_init_residual_silences_the_last_norm_of_each_block():
    net = BiRealResNet(50, base_channels=8, zero_init_residual=True)
    assert all(block.bn3.weight.abs().sum() == 0 for stage in net.stages for block in stage)
    assert net.layer1[0].bn2.weight.min() == 1


def test_deep_stem_has_mmdets_indices():
    net = BiRealResNet(50, base_channels=8, deep_stem=True)
    assert [name for name, m in net.stem.named_children() if isinstance(m, nn.Conv2d)] == ['0', '3', '6']
    assert [o.shape[-1] for o in net(torch.randn(2, 3, 64, 64))] == [16, 8, 4, 2]


def test_fewer_stages_and_chosen_outputs():
    net = BiRealResNet(18, base_channels=8, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 2))
    assert [o.shape[1] for o in net(torch.randn(1, 3, 64, 64))] == [8, 32]
    assert not hasattr(net, 'layer4')


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(depth=19), 'depth=19 is not one of 18, 34, 50, 101, 152, 20, 32, 56'),
        (dict(structure='dense'), "structure='dense'"),
        (dict(stem='patch'), "stem='patch'"),
        (dict(style='tf'), "style='tf'"),
        (dict(activation='gelu'), "'gelu'"),
        (dict(weights='ternary'), "'ternary'"),
        (dict(conv='DeformConv'), "unknown binary convolution 'DeformConv'"),
        (dict(out_indices=(0, 4)), 'out_indices'),
        (dict(num_stages=5), 'num_stages=5'),
        (dict(frozen_stages=7), 'frozen_stages=7'),
        (dict(norm_cfg=dict(type='XN')), "'XN'"),
        (dict(norm_cfg=dict(eps=1)), 'needs a type'),
        (dict(dcn=dict(type='DCN')), 'does not take dcn'),
        (dict(plugins=[dict()]), 'does not take plugins'),
        (dict(conv_cfg=dict(type='ConvWS')), 'does not take conv_cfg'),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        BiRealResNet(**{'depth': 18, 'base_channels': 8, **options})


def test_signs_see_both_polarities_at_every_layer():
    torch.manual_seed(0)
    net = BiRealResNet(50, base_channels=8).train()
    seen = {}

    def look(module, inputs):
        seen[module] = ((inputs[0] < 0).any().item(), (inputs[0] >= 0).any().item())

    for _, conv in binary_convolutions(net):
        conv.register_forward_pre_hook(look)
    net(torch.randn(2, 3, 64, 64))
    assert set(seen.values()) == {(True, True)}
    assert len(seen) == sum(isinstance(m, BinaryConv2d) for m in net.modules())
