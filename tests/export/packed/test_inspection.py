import json
from dataclasses import asdict

import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import load_file

import bireal_plugin
from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.file import save_packed
from tests.export.forged import CONFIG, forged, split

KINDS = {'f32': 32, 'f16': 16, 'bf16': 16, 'int8': 8}


def packed(tmp_path, config=CONFIG, real_layers='f32'):
    path = tmp_path / 'net.safetensors'
    model = MODELS.build(config).eval()
    save_packed(model, config, path, real_layers=real_layers)
    return model, path


@pytest.mark.parametrize('real_layers', KINDS)
def test_bytes_of_all_layers_are_the_bytes_of_the_file(real_layers, tmp_path):
    _, path = packed(tmp_path, real_layers=real_layers)
    report = bireal_plugin.inspect(path)
    assert sum(layer.bytes for layer in report.layers) == len(split(path)[1])
    assert report.file_bytes == path.stat().st_size
    assert report.real_layers == real_layers
    assert {layer.bits for layer in report.layers if layer.kind == 'real'} == {KINDS[real_layers]}


def test_every_convolution_and_matrix_has_its_shape_and_kind(tmp_path):
    model, path = packed(tmp_path)
    modules = {
        name: module for name, module in model.named_modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    }
    report = bireal_plugin.inspect(path)
    assert {layer.name: (layer.kind, layer.shape, layer.bits) for layer in report.layers} == {
        name: (
            '1-bit' if isinstance(module, BinaryConv2d) else 'real',
            tuple(module.weight.shape),
            1 if isinstance(module, BinaryConv2d) else 32,
        )
        for name, module in modules.items()
    }


def test_float32_is_four_bytes_for_every_number_of_the_folded_network(tmp_path):
    model, path = packed(tmp_path, real_layers='int8')
    numbers = model.fc.weight.numel() + model.fc.bias.numel()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):  # a bias each, and a scale where the weights are 1-bit
            numbers += module.weight.numel() + module.out_channels * (2 if isinstance(module, BinaryConv2d) else 1)
    report = bireal_plugin.inspect(path)
    assert report.float32_bytes == 4 * numbers
    assert report.compression == 4 * numbers / path.stat().st_size


def test_the_table_names_every_layer_the_totals_and_the_network(tmp_path):
    _, path = packed(tmp_path)
    text = str(bireal_plugin.inspect(path))
    assert text.splitlines()[0].startswith(f'{path}: format version 2, checksum ok (')
    assert 'BiRealClassifier(backbone=BiRealResNet(base_channels=8, depth=18, out_indices=[3])' in text
    rows = {tuple(line.split()[:2]): line.split()[2:] for line in text.splitlines() if line}
    assert rows['backbone.layer4.3.conv1', '1-bit'] == ['64x64x3x3', '1', '36,864', '5,120']
    assert rows['fc', 'real'] == ['10x64', '32', '640', '2,600']
    assert rows['total', '1-bit'][0] == '16'


@pytest.mark.parametrize(
    ('options', 'kinds'),
    [
        (dict(norm_cfg=dict(type='GN', num_groups=4)), {'1-bit', 'real', 'norm'}),
        (dict(rsign=True, rprelu=True), {'1-bit', 'real', 'other'}),
        (dict(conv='XNORConv2d'), {'1-bit', 'real', 'other'}),
        (dict(conv='ABCConv2d'), {'1-bit', 'real', 'other'}),
    ],
)
def test_what_is_no_convolution_is_listed_too(options, kinds, tmp_path):
    config = dict(type='BiRealResNet', depth=18, base_channels=8, **options)
    _, path = packed(tmp_path, config)
    report = bireal_plugin.inspect(path)
    assert {layer.kind for layer in report.layers} == kinds
    assert sum(layer.bytes for layer in report.layers) == sum(
        value.numel() * value.element_size() for value in load_file(path).values()
    )


def test_the_report_is_plain_data(tmp_path):
    _, path = packed(tmp_path)
    report = bireal_plugin.inspect(path)
    assert json.loads(json.dumps(asdict(report)))['layers'][0]['name'] == 'backbone.conv1'
    assert report.checksum == split(path)[0]['__metadata__']['checksum']


def test_what_loading_refuses_is_not_described(tmp_path):
    _, path = packed(tmp_path)
    forged(path, change=lambda tensors: tensors['fc.bias'].fill_(torch.nan))
    with pytest.raises(InputError, match=r'fc\.bias holds NaN'):
        bireal_plugin.inspect(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match='truncated'):
        bireal_plugin.inspect(path)
