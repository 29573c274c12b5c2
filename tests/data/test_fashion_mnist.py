"""Fashion-MNIST: the real files, and broken ones."""

import gzip
import shutil
import struct

import numpy as np
import pytest

from bireal_plugin.data import FashionMNISTFiles
from bireal_plugin.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9], dtype=np.uint8)
IMAGE_FILE = 't10k-images-idx3-ubyte'
LABEL_FILE = 't10k-labels-idx1-ubyte'


def idx(array, *, dtype_code=8):
    return bytes([0, 0, dtype_code, array.ndim]) + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes()


def write(folder, *, images=None, labels=None):
    """Six images of the test split, or the given bytes in the place of a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{IMAGE_FILE}.gz').write_bytes(images or gzip.compress(idx(IMAGES)))
    (folder / f'{LABEL_FILE}.gz').write_bytes(labels or gzip.compress(idx(LABELS)))
    return folder


@pytest.mark.parametrize(('split', 'prefix', 'total'), [('train', 'train', 60_000), ('test', 't10k', 10_000)])
def test_real_files_are_read_byte_by_byte(shared_data, split, prefix, total):
    root = shared_data / 'fashion-mnist'
    dataset = FashionMNISTFiles(root, split)
    with gzip.open(root / f'{prefix}-images-idx3-ubyte.gz') as file:
        assert file.read()[16:] == dataset.samples.tobytes()
    with gzip.open(root / f'{prefix}-labels-idx1-ubyte.gz') as file:
        assert file.read()[8:] == dataset.targets.astype(np.uint8).tobytes()
    assert np.bincount(dataset.targets).tolist() == [total // 10] * 10


def test_real_class_names_fit_the_pictures(shared_data):
    dataset = FashionMNISTFiles(shared_data / 'fashion-mnist', 'test')
    first = [dataset.metainfo['classes'][label] for label in dataset.targets[:4]]
    assert first == ['Ankle boot', 'Pullover', 'Trouser', 'Trouser']


@pytest.mark.parametrize('folder', ['.', 'FashionMNIST/raw'])
def test_both_layouts_are_found(tmp_path, folder):
    write(tmp_path / folder)
    dataset = FashionMNISTFiles(tmp_path, 'test')
    assert np.array_equal(np.stack([item['inputs'] for item in dataset]), IMAGES[:, None])
    assert [item['labels'] for item in dataset] == LABELS.tolist()


def test_unpacked_files_are_read(tmp_path):
    (tmp_path / IMAGE_FILE).write_bytes(idx(IMAGES))
    (tmp_path / LABEL_FILE).write_bytes(idx(LABELS))
    assert np.array_equal(FashionMNISTFiles(tmp_path, 'test').samples, IMAGES[..., None])


@pytest.mark.parametrize(
    ('broken', 'words'),
    [
        ({'images': gzip.compress(idx(IMAGES))[:-200]}, [IMAGE_FILE, 'truncated']),
        ({'images': idx(IMAGES)}, [IMAGE_FILE, 'no gzip file']),
        ({'images': gzip.compress(idx(IMAGES))[:300] + bytes(4000)}, [IMAGE_FILE, 'truncated']),
        ({'images': gzip.compress(idx(LABELS))}, [IMAGE_FILE, '00000801', '00000803']),
        ({'images': gzip.compress(idx(IMAGES, dtype_code=13))}, [IMAGE_FILE, '00000d03']),
        ({'images': gzip.compress(idx(IMAGES)[:10])}, [IMAGE_FILE, 'header']),
        ({'images': gzip.compress(b'')}, [IMAGE_FILE, 'header']),
        ({'images': gzip.compress(idx(IMAGES)[:-1])}, [IMAGE_FILE, '4703', '4704']),
        ({'images': gzip.compress(idx(IMAGES) + b'x')}, [IMAGE_FILE, 'more', '4704']),
        ({'images': gzip.compress(idx(IMAGES[:, :14]))}, [IMAGE_FILE, '14 x 28']),
        ({'labels': gzip.compress(idx(LABELS[:5]))}, [IMAGE_FILE, '6 images', LABEL_FILE, '5 labels']),
        ({'labels': gzip.compress(idx(LABELS + 7))}, [LABEL_FILE, 'label 16']),
    ],
)
def test_broken_file_is_named(tmp_path, broken, words):
    with pytest.raises(InputError) as caught:
        FashionMNISTFiles(write(tmp_path, **broken), 'test')
    assert all(word in str(caught.value) for word in words)


def test_missing_files_name_both_places_and_the_option(tmp_path):
    shutil.rmtree(write(tmp_path / 'data'))
    with pytest.raises(InputError) as caught:
        FashionMNISTFiles(tmp_path / 'data', 'train')
    for words in (str(tmp_path / 'data' / 'FashionMNIST' / 'raw'), 'train-images', '--cfg-options data_root=PATH'):
        assert words in str(caught.value)
