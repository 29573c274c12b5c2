import json
import struct

import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import load_file, save_file
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.fold import fold
from bireal_plugin.export.packed_file import load_packed, read_packed, save_packed
from tests.export.test_fold import trained

CONFIG = dict(
    type='BiRealClassifier',
    data_preprocessor=dict(type='ImagePreprocessor', mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)),
    backbone=dict(type='BiRealResNet', depth=18, base_channels=8, out_indices=(3,)),
    num_classes=10,
)


@pytest.fixture(scope='module')
def model():
    return trained(MODELS.build(CONFIG))


@pytest.fixture
def packed(model, tmp_path):
    path = tmp_path / 'net.safetensors'
    save_packed(model, CONFIG, path)
    return path


def test_a_loaded_network_computes_bit_for_bit_what_the_folded_one_does(model, packed):
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(load_packed(packed)(x), fold(model)(x))


def test_the_preprocessor_comes_along(packed):
    assert load_packed(packed).data_preprocessor.mean.flatten().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize('depth', [18, 50])
def test_a_backbone_alone_is_packed_too(depth, tmp_path):
    config = dict(type='BiRealResNet', depth=depth, base_channels=8)
    net = trained(MODELS.build(config))
    save_packed(net, config, tmp_path / 'net.safetensors')
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for got, want in zip(load_packed(tmp_path / 'net.safetensors')(x), fold(net)(x), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize(('depth', 'megabytes'), [(18, 4.3), (34, 5.6)])
def test_the_papers_networks_fit_their_sizes(depth, megabytes, tmp_path):
    config = dict(
        type='BiRealClassifier', backbone=dict(type='BiRealResNet', depth=depth, out_indices=(3,)), num_classes=1000
    )
    size = save_packed(MODELS.build(config).eval(), config, tmp_path / 'net.safetensors')
    assert size <= megabytes * 1e6


@pytest.mark.parametrize(('dtype', 'tolerance'), [('float16', 2e-3), ('bfloat16', 2e-2)])
def test_real_layers_in_two_bytes_are_their_rounded_selves(model, dtype, tolerance, tmp_path):
    full, half = tmp_path / 'full.safetensors', tmp_path / 'half.safetensors'
    assert save_packed(model, CONFIG, half, real_layers=dtype) < save_packed(model, CONFIG, full)
    loaded, exact = load_packed(half).state_dict(), load_packed(full).state_dict()
    for name, value in exact.items():
        assert loaded[name].dtype == value.dtype
        torch.testing.assert_close(loaded[name], value, rtol=tolerance, atol=1e-6)


def rewritten(path, *, tensors=None, **metadata):
    header = json.loads(path.read_bytes()[8 : 8 + struct.unpack('<Q', path.read_bytes()[:8])[0]])['__metadata__']
    save_file(tensors or load_file(path), path, metadata={**header, **metadata})


@pytest.mark.parametrize(
    ('metadata', 'sentence'),
    [
        (dict(format='other'), 'not a packed network'),
        (dict(version='2'), "format version '2'; this release reads 1"),
        (dict(checksum='0'), 'checksum does not match'),
        (dict(config='{}'), 'checksum does not match'),
    ],
)
def test_changed_metadata_is_refused(packed, metadata, sentence):
    rewritten(packed, **metadata)
    with pytest.raises(InputError, match=sentence):
        load_packed(packed)


def test_changed_tensors_are_refused(packed):
    tensors = load_file(packed)
    tensors['fc.bias'] += 1
    rewritten(packed, tensors=tensors)
    with pytest.raises(InputError, match='checksum'):
        load_packed(packed)


@pytest.mark.parametrize(
    ('config', 'sentence'),
    [
        ({**CONFIG, 'type': 'DistilledClassifier'}, "not 'DistilledClassifier'"),
        ({**CONFIG, 'init_cfg': dict(type='Pretrained', checkpoint='x')}, 'init_cfg has no place'),
        ({**CONFIG, 'backbone': dict(type='ResNet', depth=18)}, "not 'ResNet'"),
        ({**CONFIG, 'backbone': {**CONFIG['backbone'], 'pretrained': 'http://x'}}, 'pretrained has no place'),
    ],
)
def test_only_plain_networks_of_this_package_are_written(model, config, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        save_packed(model, config, tmp_path / 'net.safetensors')
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_network_than_its_config_is_refused(model, tmp_path):
    wider = {**CONFIG, 'backbone': {**CONFIG['backbone'], 'base_channels': 16}}
    save_packed(model, wider, tmp_path / 'net.safetensors')
    with pytest.raises(InputError, match='do not belong to the network it claims'):
        load_packed(tmp_path / 'net.safetensors')


@pytest.mark.parametrize('keep', [0, 4, 100, 5000])
def test_truncated_files_are_refused(packed, keep):
    packed.write_bytes(packed.read_bytes()[:keep])
    with pytest.raises(InputError, match='truncated or no safetensors file'):
        load_packed(packed)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match='does not exist'):
        read_packed(tmp_path / 'none.safetensors')
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / 'x.pth')
    with pytest.raises(InputError, match='no safetensors file'):
        read_packed(tmp_path / 'x.pth')


def test_thousands_of_mutations_give_the_same_network_or_a_sentence(packed):
    """Bytes flipped, cut out, doubled or overwritten anywhere, mostly in the header."""
    original = packed.read_bytes()
    header = struct.unpack('<Q', original[:8])[0] + 8
    generator = torch.Generator().manual_seed(0)

    def draw(limit):
        return int(torch.randint(limit, (), generator=generator))

    refused = 0
    for i in range(3000):
        data = bytearray(original)
        place = draw(header if i % 4 else len(data))
        if i % 3 == 0:
            data[place] ^= 1 << draw(8)
        elif i % 3 == 1:
            del data[place : place + 1 + draw(50)]
        else:
            data[place : place + 4] = bytes(draw(256) for _ in range(4))
        if bytes(data) == original:
            continue
        packed.write_bytes(data)
        try:
            read_packed(packed)
        except InputError:
            refused += 1
        else:
            pytest.fail(f'mutation {i} at byte {place} was not noticed')
    assert refused > 2900
