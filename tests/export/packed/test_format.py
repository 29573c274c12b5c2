"""Damaged files: whatever is wrong with the bytes is told in one sentence, before anything large is allocated."""

import json
import struct
import tracemalloc

import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import load_file, save_file
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export import Session
from bireal_plugin.export.packed.file import load_packed, save_packed
from bireal_plugin.export.packed.format import read_packed
from tests.export.forged import CONFIG, checksum, joined, split


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


def rewritten(path, *, tensors=None, **metadata):
    save_file(tensors or load_file(path), path, metadata={**split(path)[0]['__metadata__'], **metadata})


@pytest.mark.parametrize(
    ('metadata', 'sentence'),
    [
        (dict(format='other'), 'is a safetensors file, but not a packed network'),
        (dict(version='3'), "format version '3'; this release reads 1 and 2"),
        (dict(checksum='0'), 'checksum does not match'),
        (dict(config='{}'), 'checksum does not match'),
        (dict(real_layers='int8'), 'checksum does not match'),
        (dict(author='x'), 'has metadata author, checksum, .*; a packed file has format, version'),
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
    with pytest.raises(InputError, match='was changed after it was written: its checksum does not match'):
        load_packed(packed)


@pytest.mark.parametrize('keep', [0, 4, 100, 5000, -1])
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
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / 'x.safetensors')
    with pytest.raises(InputError, match='not a packed network'):
        read_packed(tmp_path / 'x.safetensors')


@pytest.mark.parametrize('length', [2**33, 2**63, 2**64 - 1])
def test_a_header_that_claims_gigabytes_takes_no_memory(packed, length):
    packed.write_bytes(struct.pack('<Q', length) + packed.read_bytes()[8:])
    tracemalloc.start()
    with pytest.raises(InputError, match='truncated or no safetensors file'):
        load_packed(packed)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize(('old', 'new'), [('float32', 'f32'), ('bfloat16', 'bf16')])
def test_a_file_of_version_1_loads_as_the_same_network(model, old, new, tmp_path):
    """It had no metadata of the exporter and named precisions as torch does."""
    path = tmp_path / 'net.safetensors'
    save_packed(model, CONFIG, path, real_layers=new)
    expected, tensors = load_packed(path).state_dict(), load_file(path)
    config = split(path)[0]['__metadata__']['config']
    metadata = dict(format='bireal-packed', version='1', config=config, real_layers=old)
    save_file(tensors, path, metadata={**metadata, 'checksum': checksum(tensors, config, old)})
    found = load_packed(path).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert read_packed(path).real_layers == new


def test_texts_of_the_exporter_come_back(model, tmp_path):
    path = tmp_path / 'net.safetensors'
    save_packed(model, CONFIG, path, metadata=dict(size='96 x 320'))
    assert Session(path).metadata == dict(size='96 x 320')


def entry(change):
    """A change of the header's entry of the last layer's bias."""

    def apply(header):
        change(header['fc.bias'])
        return header

    return apply


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda header: json.dumps(header).replace('"fc.bias"', '"fc.weight"'), 'offset'),
        (lambda header: json.dumps(header).replace('"shape"', '"dtype"', 1), 'duplicate field'),
        (lambda header: '[' * 100_000, 'header'),
        (lambda header: '9' * 5_000, 'header'),
        (lambda header: '[1]', 'header'),
        (lambda header: {**header, 'x': 1}, 'header'),
        (lambda header: {**header, '__metadata__': 3}, 'header'),
        (entry(lambda e: e.update(dtype='F99')), 'unknown variant'),
        (entry(lambda e: e.update(dtype=['F32'])), 'header'),
        (entry(lambda e: e.update(shape=[2**60])), 'header'),
        (entry(lambda e: e.update(shape=[-10])), 'header'),
        (entry(lambda e: e.update(shape=[10.0])), 'header'),
        (entry(lambda e: e.update(data_offsets=[0, 40])), 'offset'),
        (entry(lambda e: e.update(data_offsets=[10**12, 10**12 + 40])), 'offset'),
        (lambda header: {k: v for k, v in header.items() if k != 'fc.bias'}, 'offset'),
    ],
)
def test_a_header_that_does_not_describe_the_file_is_refused(packed, change, sentence):
    """By safetensors itself: duplicates, overlaps, gaps, wrong sizes, unknown types."""
    header, data = split(packed)
    joined(packed, change(header), data)
    with pytest.raises(InputError, match=f'is truncated or no safetensors file: .*{sentence}'):
        load_packed(packed)


def test_thousands_of_mutations_are_all_told_in_a_sentence(original, packed):
    """Bytes flipped, cut out or overwritten anywhere, mostly in the header."""
    header = struct.unpack('<Q', original[:8])[0] + 8
    generator = torch.Generator().manual_seed(0)

    def draw(limit):
        return int(torch.randint(limit, (), generator=generator))

    sentences = []
    file = packed.open('r+b')  # a new file each time would take most of the time
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
        file.seek(0)
        file.write(data)
        file.truncate()
        file.flush()
        try:
            load_packed(packed)
        except InputError as error:
            sentences.append(str(error))
        else:
            pytest.fail(f'mutation {i} at byte {place} was not noticed')
    file.close()
    assert len(sentences) > 2900
    assert all(sentence.startswith(str(packed)) and len(sentence.splitlines()) == 1 for sentence in sentences)
