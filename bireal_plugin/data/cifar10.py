"""CIFAR-10 from the files its author publishes, in the binary or in the Python version."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS

from bireal_plugin.data.classification import ClassificationDataset, Split, checked_split
from bireal_plugin.data.restricted_pickle import load_arrays
from bireal_plugin.errors import InputError

CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
BATCHES = {'train': tuple(f'data_batch_{number}' for number in range(1, 6)), 'test': ('test_batch',)}
IMAGES_PER_FILE = 10_000
SIDE = 32
VALUES = 3 * SIDE * SIDE
BINARY_FOLDER = 'cifar-10-batches-bin'
PYTHON_FOLDER = 'cifar-10-batches-py'
AGAIN = 'download CIFAR-10 again'


@DATASETS.register_module()
class CIFAR10Files(ClassificationDataset):
    """50 000 training and 10 000 test images, ``(32, 32, 3)`` RGB, 10 classes (Krizhevsky 2009).

    Args:
        root: the folder ``cifar-10-batches-bin`` or ``cifar-10-batches-py``, or the one that holds it. The binary
            version is taken where both are there.
        split: 'train' or 'test'; 'val' means 'test'.
        options: transform, seed, subset, see ``ClassificationDataset``.

    Raises:
        InputError: an archive that is not unpacked, a missing, truncated or foreign file, and what
            ``ClassificationDataset`` raises.
    """

    name = 'CIFAR-10'

    def __init__(self, root: str | Path, split: Split = 'train', **options: Any) -> None:
        batches = [read_batch(file) for file in find_batches(Path(root), BATCHES[checked_split(split)])]
        planes = np.concatenate([images for images, _ in batches])
        images = planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        super().__init__(images, np.concatenate([labels for _, labels in batches]), classes=CLASSES, **options)


def find_batches(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Find the files ``names`` of one version, ``.bin`` files first.

    Raises:
        InputError: none of them is there, only some are, or the archive is not unpacked.
    """
    for folder in (root, root / BINARY_FOLDER, root / PYTHON_FOLDER):
        for suffix in ('.bin', ''):
            files = [folder / f'{name}{suffix}' for name in names]
            missing = [file for file in files if not file.is_file()]
            if not missing:
                return files
            if len(missing) < len(files):
                raise InputError(
                    f'{missing[0]} is missing although {folder} has other CIFAR-10 files: unpack the archive again'
                )
    archives = [root] if root.is_file() else sorted(root.glob('cifar-10-*.tar.gz'))
    if archives:
        raise InputError(
            f'CIFAR-10 is still packed in {archives[0]}: unpack it with tar -xzf {archives[0].name} in that folder'
        )
    raise InputError(
        f'CIFAR-10 was expected in {root} as {BINARY_FOLDER}/{names[0]}.bin or {PYTHON_FOLDER}/{names[0]}: '
        'point to the folder that holds one of the two with --cfg-options data_root=PATH'
    )


def read_batch(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one file, binary if its name ends in ``.bin``: images ``(10000, 3072)`` uint8 and labels ``(10000,)``.

    An image is its red, green and blue planes, each row by row.

    Raises:
        InputError: the content is not that of a CIFAR-10 file.
    """
    if file.suffix != '.bin':
        images, labels = _read_python(file)
    else:  # records of one byte for the label and 3072 for the image
        content = np.fromfile(file, dtype=np.uint8)
        expected = IMAGES_PER_FILE * (1 + VALUES)
        if content.size != expected:
            raise InputError(f'{file} has {content.size} bytes instead of {expected}: {AGAIN}')
        records = content.reshape(IMAGES_PER_FILE, 1 + VALUES)
        images, labels = records[:, 1:], records[:, 0].astype(np.int64)
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise InputError(f'{file} holds labels from {labels.min()} to {labels.max()} instead of 0 to 9: {AGAIN}')
    return images, labels


def _read_python(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """A pickled dictionary with an array ``data`` and a list ``labels``."""
    batch = load_arrays(file)
    if not isinstance(batch, dict) or not {b'data', b'labels'} <= batch.keys():
        raise InputError(f'{file} has no entries data and labels, so it is no CIFAR-10 file: {AGAIN}')
    data, labels = batch[b'data'], batch[b'labels']
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (IMAGES_PER_FILE, VALUES):
        found = f'{data.dtype} {data.shape}' if isinstance(data, np.ndarray) else type(data).__name__
        raise InputError(f'{file} holds data of {found} instead of uint8 {(IMAGES_PER_FILE, VALUES)}: {AGAIN}')
    numbers = isinstance(labels, list) and all(isinstance(label, int) and abs(label) < 256 for label in labels)
    if not numbers or len(labels) != IMAGES_PER_FILE:
        raise InputError(f'{file} does not hold a list of {IMAGES_PER_FILE} whole numbers as labels: {AGAIN}')
    return data, np.array(labels, dtype=np.int64)
