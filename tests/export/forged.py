"""A small packed network, files of it with other content and a checksum that matches, and damaged files of any kind."""

import hashlib
import json
import struct

import numpy as np
import torch
from safetensors.torch import load_file, save_file

CONFIG = dict(
    type='BiRealClassifier',
    data_preprocessor=dict(type='ImagePreprocessor', mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)),
    backbone=dict(type='BiRealResNet', depth=18, base_channels=8, out_indices=(3,)),
    num_classes=10,
)


def split(path):
    """The header of a safetensors file as a dict, and the bytes behind it."""
    content = path.read_bytes()
    length = struct.unpack('<Q', content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(path, header, data):
    """Write a safetensors file; ``header`` may be its text."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + data)


def checksum(tensors, *texts):
    """``texts``: config, real_layers and, from version 2 on, metadata, as they stand in the file."""
    digest = hashlib.sha256(json.dumps(texts).encode())
    for name, value in sorted(tensors.items()):
        array = value.contiguous()
        digest.update(f'{name} {array.dtype} {tuple(array.shape)}'.encode())
        digest.update(bytes(array.flatten().view(torch.uint8).tolist()))
    return digest.hexdigest()


def forged(path, *, change=lambda tensors: None, **metadata):
    """Rewrite the file with changed tensors and metadata."""
    tensors = load_file(path)
    change(tensors)
    metadata = {**split(path)[0]['__metadata__'], **metadata}
    texts = [metadata[key] for key in ('config', 'real_layers', 'metadata') if key in metadata]
    metadata['checksum'] = checksum(tensors, *texts)
    save_file(tensors, path, metadata=metadata)


def damaged(original, marker, count=1000):
    """Contents with bits flipped, bytes overwritten, cut out or doubled, or the end cut off.

    Also at the two ends and in the checksum behind ``marker``, where chance alone would seldom look.
    """
    random = np.random.default_rng(0)
    checksum = original.index(marker)
    for i in range(count):
        data = bytearray(original)
        low, high = [(0, len(data)), (0, 64), (checksum, checksum + 90), (len(data) - 64, len(data))][i % 4]
        place, length, kind = int(random.integers(low, high)), int(random.integers(1, 40)), i // 4 % 5
        if kind == 0:
            data[place] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[place : place + length] = random.bytes(len(data[place : place + length]))
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length]
        else:
            del data[place:]
        if data != original:
            yield bytes(data)
