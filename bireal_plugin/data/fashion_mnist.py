"""Fashion-MNIST from its four original idx files, compressed or not."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS

from bireal_plugin.data.classification import ClassificationDataset, Split, checked_split
from bireal_plugin.errors import InputError

CLASSES = ('T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot')
SIDE = 28
LARGEST = 60_000 * SIDE**2  # bytes in one file


@DATASETS.register_module()
class FashionMNISTFiles(ClassificationDataset):
    """60 000 training and 10 000 test images of clothes, ``(28, 28, 1)``, 10 classes (Xiao et al. 2017).

    Args:
        root: folder with the idx files, ``{train,t10k}-images-idx3-ubyte[.gz]`` and ``...-labels-idx1-ubyte[.gz]``, or
            a folder that holds them in ``FashionMNIST/raw`` as torchvision does.
        split: 'train' or 'test'; 'val' means 'test'.
        options: transform, seed, subset, see ``ClassificationDataset``.

    Raises:
        InputError: a missing, truncated or foreign file, and what ``ClassificationDataset`` raises.
    """

    name = 'Fashion-MNIST'

    def __init__(self, root: str | Path, split: Split = 'train', **options: Any) -> None:
        prefix = 'train' if checked_split(split) == 'train' else 't10k'
        image_file = find_idx(Path(root), f'{prefix}-images-idx3-ubyte')
        label_file = find_idx(Path(root), f'{prefix}-labels-idx1-ubyte')
        images, labels = read_idx(image_file, dimensions=3), read_idx(label_file, dimensions=1)
        if images.shape[1:] != (SIDE, SIDE):
            raise InputError(
                f'{image_file} holds images of {images.shape[1]} x {images.shape[2]} px instead of {SIDE} x {SIDE}: '
                'put the original Fashion-MNIST file there'
            )
        if len(images) != len(labels) or len(images) == 0:
            raise InputError(
                f'{image_file} holds {len(images)} images but {label_file} {len(labels)} labels: '
                'take both files from the same download of Fashion-MNIST'
            )
        if labels.max() >= len(CLASSES):
            raise InputError(
                f'{label_file} holds the label {labels.max()}, but Fashion-MNIST has only 0 to {len(CLASSES) - 1}: '
                'put the original file there'
            )
        super().__init__(images[..., None], labels.astype(np.int64), classes=CLASSES, **options)


def find_idx(root: Path, name: str) -> Path:
    """Find ``name`` or ``name.gz`` in ``root`` or ``root/FashionMNIST/raw``.

    Raises:
        InputError: it is in none of these places.
    """
    for folder in (root, root / 'FashionMNIST' / 'raw'):
        for file in (folder / f'{name}.gz', folder / name):
            if file.is_file():
                return file
    raise InputError(
        f'Fashion-MNIST was expected in {root} or {root / "FashionMNIST" / "raw"}, but {name}.gz is in neither: '
        'point to the folder with the four idx files with --cfg-options data_root=PATH'
    )


def read_idx(file: Path, *, dimensions: int) -> np.ndarray:
    """Read an idx file of unsigned bytes: 0, 0, type 8, number of dimensions, their big-endian uint32 sizes, the data.

    Args:
        file: plain, or compressed when its name ends in ``.gz``.
        dimensions: how many the array must have.

    Raises:
        InputError: the compression is broken, the header is another one, or the length does not match it.
    """
    length, magic = 4 + 4 * dimensions, bytes([0, 0, 8, dimensions])
    try:
        with gzip.open(file) if file.suffix == '.gz' else file.open('rb') as opened:
            header = opened.read(length)
            if header[:4] != magic or len(header) < length:
                raise InputError(
                    f'{file} begins with {header[:4].hex()} instead of the idx magic number {magic.hex()}, or ends in '
                    'its header: download it again'
                )
            shape = tuple(np.frombuffer(header, dtype='>u4', offset=4).tolist())
            expected = math.prod(shape)
            if expected > LARGEST:
                raise InputError(f'{file} is to hold {expected} bytes, more than {LARGEST}: download it again')
            content = opened.read(expected + 1)  # a few bytes of gzip may hold any number of them
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f'{file} is truncated or no gzip file ({error}): download it again') from error
    if len(content) != expected:
        found = 'more' if len(content) > expected else len(content)
        raise InputError(f'{file} holds {found} bytes of data, not the {expected} of its header: download it again')
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
