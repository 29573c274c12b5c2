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
from bireal_plugin.export.packed.file import load_packed, save_packed
from bireal_plugin.export.packed.format import read_packed
from tests.export.forged import CONFIG, joined, split


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp('packed') / 'net.safetensors'
    save_packed(MODELS.build(CONFIG).eval(), CONFIG, path)
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
        (dict(version='2'), "format version '2'; this release reads 1"),
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
    with pytest.raises(InputError, match='was changed after it was written: its checksum does not match; get it again'):
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
    with pytest.raises(InputError, match=f'its header should have {length:,} bytes, and the whole file has'):
        load_packed(packed)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_long_header_and_a_large_file_are_refused_unread(packed):
    with packed.open('r+b') as file:
        file.truncate(2**31 + 1)  # sparse: it takes no room
    with pytest.raises(InputError, match='has 2,147,483,649 bytes, and packed networks have less'):
        load_packed(packed)
    with packed.open('r+b') as file:
        file.truncate(2**24)
        file.write(struct.pack('<Q', 2**23 + 1))
    with pytest.raises(InputError, match='its header of 8,388,609 bytes is longer than 8,388,608'):
        load_packed(packed)


def entry(change):
    """A change of the header's entry of the last layer's bias."""

    def apply(header):
        change(header['fc.bias'])
        return header

    return apply


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda header: json.dumps(header).replace('"fc.bias"', '"fc.weight"'), "it has two entries 'fc.weight'"),
        (lambda header: json.dumps(header).replace('"shape"', '"dtype"', 1), "it has two entries 'dtype'"),
        (lambda header: '[' * 100_000, 'its header cannot be read'),
        (lambda header: '9' * 5_000, 'its header cannot be read'),
        (lambda header: '[1]', 'its header is no JSON object'),
        (lambda header: {**header, 'x': 1}, "its entry 'x' describes no tensor"),
        (lambda header: {**header, '__metadata__': 3}, 'not a packed network'),
        (entry(lambda e: e.update(dtype='F64')), 'fc.bias has type F64, and packed files hold only F32, F16'),
        (entry(lambda e: e.update(dtype=['F32'])), r"fc.bias has type \['F32'\]"),
        (entry(lambda e: e.update(shape=[2**60])), 'has another size than its shape'),
        (entry(lambda e: e.update(shape=[-10])), 'has no shape or no place'),
        (entry(lambda e: e.update(shape=[10.0])), 'has no shape or no place'),
        (entry(lambda e: e.update(data_offsets=[0, 40])), 'its tensors overlap or leave gaps'),
        (entry(lambda e: e.update(data_offsets=[10**12, 10**12 + 40])), 'its tensors overlap or leave gaps'),
        (lambda header: {k: v for k, v in header.items() if k != 'fc.bias'}, 'overlap or leave gaps|should have'),
    ],
)
def test_a_header_that_does_not_describe_the_file_is_refused(packed, change, sentence):
    header, data = split(packed)
    joined(packed, change(header), data)
    with pytest.raises(InputError, match=sentence):
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
