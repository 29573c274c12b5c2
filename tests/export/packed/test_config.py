"""What a packed file may build, in configs that are written and in forged ones that are read."""

import json

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.packed import config as packed_config
from bireal_plugin.export.packed.config import allow_in_packed_files
from bireal_plugin.export.packed.file import load_packed, save_packed
from bireal_plugin.folding.fold import fold
from tests.export.forged import CONFIG, forged


def with_backbone(**options):
    return {**CONFIG, 'backbone': {**CONFIG['backbone'], **options}}


@pytest.fixture(scope='module')
def model():
    return MODELS.build(CONFIG).eval()


@pytest.fixture(scope='module')
def original(model, tmp_path_factory):
    path = tmp_path_factory.mktemp('packed') / 'net.safetensors'
    save_packed(model, CONFIG, path)
    return path.read_bytes()


@pytest.fixture
def packed(original, tmp_path):
    path = tmp_path / 'net.safetensors'
    path.write_bytes(original)
    return path


@pytest.mark.parametrize(
    ('config', 'sentence'),
    [
        (
            {**CONFIG, 'type': 'DistilledClassifier'},
            "the network may be BiRealClassifier, .* not 'DistilledClassifier'",
        ),
        ({**CONFIG, 'init_cfg': dict(type='Pretrained', checkpoint='x')}, 'init_cfg has no place'),
        ({**CONFIG, 'backbone': dict(type='ResNet', depth=18)}, "backbone may be .* not 'ResNet'"),
        ({**CONFIG, 'backbone': 'BiRealResNet'}, "backbone is described by a dict with a type, not by 'BiRealResNet'"),
        (with_backbone(pretrained='http://x'), 'pretrained has no place'),
        (
            with_backbone(norm_cfg=dict(type='BiRealClassifier')),
            'norm_cfg may be BN',
        ),
        (
            with_backbone(norm_cfg=[['type', 'X']]),
            'norm_cfg holds a list in a list',
        ),
        (
            with_backbone(norm_cfg=dict(type='BN', device='cpu')),
            'device has no place',
        ),
        (
            with_backbone(conv=dict(type='ABCConv2d', weight_bases=10**9)),
            'weight_bases is a whole number up to 16 in a packed file, not 1000000000',
        ),
        ({**CONFIG, '_scope_': 'mmdet'}, '_scope_ has no place'),
        (with_backbone(norm_cfg=dict(type=nn.BatchNorm2d)), 'be written as JSON'),
        (
            with_backbone(colour='red'),
            "the config: its network cannot be built.*'colour'",
        ),
    ],
)
def test_only_plain_networks_of_this_package_are_written(model, config, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        save_packed(model, config, tmp_path / 'net.safetensors')
    assert list(tmp_path.iterdir()) == []


@MODELS.register_module()
class PackedPair(nn.Module):
    """A network of another package: two backbones, one after another image size."""

    def __init__(self, backbones, grid=False):
        super().__init__()
        self.backbones = nn.ModuleList(MODELS.build(backbone) for backbone in backbones)
        if grid:
            self.register_buffer('grid', torch.zeros(3), persistent=False)

    def forward(self, x):
        return self.backbones[0](x)[-1].mean() + self.backbones[1](x)[-1].mean()


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(packed_config, '_NETWORKS', dict(packed_config._NETWORKS))
    return dict(type='PackedPair', backbones=[CONFIG['backbone'], CONFIG['backbone']])


def test_networks_of_another_package_are_packed_once_they_are_allowed(pair, tmp_path):
    net, path, x = MODELS.build(pair).eval(), tmp_path / 'net.safetensors', torch.randn(1, 3, 64, 64)
    with pytest.raises(InputError, match=r"not 'PackedPair' \(types of another package are known once it is imported"):
        save_packed(net, pair, path)
    allow_in_packed_files('PackedPair', networks=['backbones'])
    save_packed(net, pair, path)
    with torch.no_grad():
        assert torch.equal(load_packed(path)(x), fold(net)(x))
    with pytest.raises(InputError, match=r"backbones may be .* not 'ResNet'"):
        save_packed(net, {**pair, 'backbones': [CONFIG['backbone'], dict(type='ResNet', depth=18)]}, path)
    with pytest.raises(InputError, match='the buffer grid is not in the state dict'):
        save_packed(net, {**pair, 'grid': True}, path)


@pytest.mark.parametrize(
    ('metadata', 'sentence'),
    [
        (dict(real_layers='int4'), "real_layers is f32, f16, bf16, int8, not 'int4'"),
        (dict(real_layers='int8'), r'weight:scale is missing \(5 differ\)'),
        (dict(real_layers='f16'), 'has type float32 and must be float16'),
        (dict(config='{'), 'its config is no JSON'),
        (dict(config='[' * 100_000), 'its config is no JSON'),
        (dict(config='[]'), r'the network is described by a dict with a type, not by \[\]'),
        (
            dict(config=json.dumps(dict(type='DistilledClassifier', teacher_checkpoint='x'))),
            "not 'DistilledClassifier'",
        ),
        (
            dict(config=json.dumps(dict(type='BiRealResNet', depth=10**9))),
            'its network cannot be built.*depth=1000000000',
        ),
        (dict(config=json.dumps({**CONFIG, 'num_classes': 10**30})), 'its network cannot be built'),
        (dict(config=json.dumps({**CONFIG, 'num_classes': 10**9})), r'fc\.bias has shape \(10,\), not \(1000000000,\)'),
        (dict(config=json.dumps({**CONFIG, 'drop_rate': {'a': [[[{'type': 'eval'}]]]}})), 'holds a list in a list'),
    ],
)
def test_forged_metadata_is_refused(packed, metadata, sentence):
    forged(packed, **metadata)
    with pytest.raises(InputError, match=sentence):
        load_packed(packed)


def test_deep_nesting_is_refused(packed):
    config = 1
    for _ in range(200):
        config = dict(a=config)
    forged(packed, config=json.dumps({**CONFIG, 'drop_rate': config}))
    with pytest.raises(InputError, match='nested more than 20 deep'):
        load_packed(packed)
