"""Keywords that mmseg's and mmpretrain's ResNet take beyond mmdet's, and values that change nothing."""

import pytest
import torch
from mmengine.registry import MODELS, Registry
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d, binary_convolutions
from bireal_plugin.errors import InputError
from bireal_plugin.models import BiRealResNet, resnet
from bireal_plugin.registry import BINARY_CONVOLUTIONS, SURROGATES, WEIGHT_BINARIZERS, NameTable

# The backbone of mmseg's *_r50-d8 configs (there ResNetV1c, which is deep_stem=True).
SEGMENTATION = dict(
    depth=50,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    dilations=(1, 1, 2, 4),
    strides=(1, 2, 1, 1),
    norm_cfg=dict(type='SyncBN', requires_grad=True),
    norm_eval=False,
    style='pytorch',
    contract_dilation=True,
    deep_stem=True,
)


def on_meta(**options):
    with torch.device('meta'):
        return BiRealResNet(**options)


def dilations(net):
    """Of the 3x3 convolutions, by stage."""
    return [
        [conv.dilation[0] for _, conv in binary_convolutions(stage) if conv.kernel_size == (3, 3)]
        for stage in net.stages
    ]


def test_output_stride_8_of_segmentation():
    net = BiRealResNet(**SEGMENTATION, base_channels=8).eval()
    with torch.no_grad():
        shapes = [tuple(output.shape[1:]) for output in net(torch.randn(1, 3, 64, 96))]
    assert shapes == [(32, 16, 24), (64, 8, 12), (128, 8, 12), (256, 8, 12)]


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(), [[1] * 3, [1] * 4, [1] + [2] * 5, [2, 4, 4]]),
        (dict(contract_dilation=False), [[1] * 3, [1] * 4, [2] * 6, [4] * 3]),
        (dict(multi_grid=(1, 2, 4)), [[1] * 3, [1] * 4, [1] + [2] * 5, [1, 2, 4]]),
        # One of ResNet's basic blocks is two of ours.
        (dict(depth=18), [[1] * 4, [1] * 4, [1, 1, 2, 2], [2, 2, 4, 4]]),
        (dict(depth=18, multi_grid=(1, 4)), [[1] * 4, [1] * 4, [1, 1, 2, 2], [1, 1, 4, 4]]),
    ],
)
def test_dilation_of_each_block(options, expected):
    assert dilations(on_meta(**{**SEGMENTATION, **options})) == expected


def test_a_classifiers_backbone_gives_one_output():
    net = BiRealResNet(depth=18, base_channels=8, out_indices=(3,), expansion=1, drop_path_rate=0.0).eval()
    with torch.no_grad():
        assert [tuple(output.shape) for output in net(torch.randn(1, 3, 64, 64))] == [(1, 64, 2, 2)]


@pytest.mark.parametrize('conv_cfg', [None, {}, dict(type='Conv2d'), dict(type='Conv'), dict(type=nn.Conv2d)])
def test_a_conv_cfg_and_plugins_that_change_nothing_are_taken(conv_cfg):
    net = on_meta(depth=18, conv_cfg=conv_cfg, plugins=[], dcn=None, stage_with_dcn=(False, True, True, True))
    assert len(list(binary_convolutions(net))) == 16


@pytest.mark.parametrize('kind', ['IN', 'GN', nn.BatchNorm2d, nn.InstanceNorm2d])
def test_every_norm_is_of_the_type_named(kind):
    layer = {'IN': nn.InstanceNorm2d, 'GN': nn.GroupNorm}.get(kind, kind)
    groups = dict(num_groups=4) if kind == 'GN' else {}
    net = on_meta(depth=18, norm_cfg=dict(type=kind, **groups), zero_init_residual=True)
    assert sum(type(module) is layer for module in net.modules()) == 1 + 16 + 3


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(multi_grid=(1, 2)), r"multi_grid=\(1, 2\) must have a dilation for each of the last stage's 3 blocks"),
        (dict(drop_path_rate=0.1), 'does not take drop_path_rate'),
        (dict(expansion=2), 'expansion=2 is not one of None, 4'),
        (dict(conv_cfg=dict(type='Conv2d', bias=True)), 'does not take conv_cfg'),
        (dict(norm_cfg=dict(type='LN')), "'LN' does not normalise images"),
        (dict(norm_cfg=dict(type='BN3d')), "'BN3d' does not normalise images"),
    ],
)
def test_what_has_no_meaning_here_is_told_in_a_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        on_meta(depth=50, **options)


# The backbone of mmpretrain's configs/_base_/models/resnet18_cifar.py, where its type is ResNet_CIFAR.
CIFAR = dict(depth=18, num_stages=4, out_indices=(3,), style='pytorch', base_channels=8)


def warnings_of(monkeypatch):
    """What networks log from here on."""
    told = []
    monkeypatch.setattr(resnet, 'print_log', lambda text, **_: told.append(text))
    return told


def test_cifars_backbone_keeps_its_pixels_as_mmpretrains_does(monkeypatch):
    told = warnings_of(monkeypatch)
    net = MODELS.build(dict(type='BiRealResNet_CIFAR', **CIFAR))
    assert [tuple(output.shape) for output in net(torch.randn(2, 3, 32, 32))] == [(2, 64, 4, 4)]
    assert (net.conv1.kernel_size, net.conv1.stride, net.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert told == []


@pytest.mark.parametrize('options', [dict(deep_stem=True), dict(stem='imagenet')], ids=str)
def test_cifars_backbone_has_no_other_stem(options):
    with pytest.raises(
        InputError, match="BiRealResNet_CIFAR has the 3x3 stem; for another one use type='BiRealResNet'"
    ):
        MODELS.build(dict(type='BiRealResNet_CIFAR', **CIFAR, **options))


@pytest.mark.parametrize(('size', 'stages', 'warned'), [((32, 32), 4, 1), ((33, 20), 4, 0), ((16, 12), 3, 1)])
def test_images_of_which_one_pixel_is_left_are_warned_of_once(monkeypatch, size, stages, warned):
    told = warnings_of(monkeypatch)
    options = dict(num_stages=stages, out_indices=(stages - 1,))
    net = MODELS.build(dict(type='BiRealResNet', **{**CIFAR, **options})).eval()
    net(torch.randn(1, 3, *size))
    assert told == []
    net.train()
    for _ in range(2):
        net(torch.randn(2, 3, *size))
    assert len(told) == warned
    assert all(f'images of {size[0]} x {size[1]}' in text and "stem='cifar'" in text for text in told)


@pytest.mark.parametrize('table', [BINARY_CONVOLUTIONS, SURROGATES, WEIGHT_BINARIZERS], ids=lambda table: table.kind)
def test_the_mathematics_is_in_mmengines_registry_under_the_same_names(table):
    assert table.classes
    assert {name: MODELS.get(name) for name in table.classes} == table.classes
    built = [MODELS.build(dict(type=name)) for name in table.classes if table is not BINARY_CONVOLUTIONS]
    assert [type(each).__name__ for each in built] == [
        each for each in table.classes if table is not BINARY_CONVOLUTIONS
    ]


def test_a_later_class_is_shown_too():
    table, registry = NameTable('sign surrogate'), Registry('shown')
    table.show_in(registry)
    later = table.register(type('Later', (), {}))
    assert registry.get('Later') is later is table.get('Later')


def test_conv_cfg_of_mmcv_makes_binary_convolutions():
    cnn = pytest.importorskip('mmcv.cnn')
    conv_cfg = dict(type='BinaryConv2d', sign='STE', weight=dict(type='MagnitudeAware', per='layer'))
    conv = cnn.build_conv_layer(conv_cfg, 8, 16, 3, padding=1, bias=False)
    assert (type(conv), repr(conv.surrogate), conv.weight_binarizer.per) == (BinaryConv2d, 'STE()', 'layer')
    block = cnn.ConvModule(8, 16, 3, padding=1, conv_cfg=conv_cfg, norm_cfg=dict(type='BN')).eval()
    x = torch.randn(2, 8, 5, 5)
    weight = block.conv.weight
    expected = F.conv2d(signs(x), weight.abs().mean() * signs(weight), padding=1)
    torch.testing.assert_close(block(x), (expected / (1 + 1e-5) ** 0.5).relu(), rtol=1e-4, atol=1e-5)


def signs(x):
    return torch.where(x < 0, -1.0, 1.0)
