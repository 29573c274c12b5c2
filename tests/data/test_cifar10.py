"""CIFAR-10: both versions of the files, and pickles that must not run. Five images per file stand for ten thousand."""

import json
import pickle
import struct

import numpy as np
import pytest
import torch

from bireal_plugin.data import CIFAR10Files, cifar10
from bireal_plugin.errors import InputError

COUNT = 5
TRAIN = [f'data_batch_{number}' for number in range(1, 6)]


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(cifar10, 'IMAGES_PER_FILE', COUNT)


def content(number):
    """Images ``(5, 3072)`` and labels of one file."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (COUNT, 3072), dtype=np.uint8), rng.integers(0, 10, COUNT)


def binary(images, labels):
    return b''.join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


def python2_pickle(images, labels):
    """The opcodes of the published files: protocol 2 of Python 2 with numpy 1, in which strings are byte strings."""
    array = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R('
    shape = b'K\x01M' + struct.pack('<H', len(images)) + b'M' + struct.pack('<H', images.shape[1]) + b'\x86'
    dtype = b'cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
    data = array + shape + dtype + b'\x89T' + struct.pack('<i', images.size) + images.tobytes() + b'tb'
    numbers = b'](' + b''.join(b'K' + bytes([label]) for label in labels) + b'e'
    return b'\x80\x02}(U\x04data' + data + b'U\x06labels' + numbers + b'u.'


PICKLE = python2_pickle(*content(0))


def current_pickle(images, labels, protocol=2):
    return pickle.dumps({b'data': images, b'labels': labels.tolist()}, protocol=protocol)


def write(root, version, *, folder=None):
    encode = {'bin': binary, 'py': python2_pickle, 'py-current': current_pickle}[version]
    suffix = '.bin' if version == 'bin' else ''
    folder = root / (folder or f'cifar-10-batches-{version[:3].rstrip("-")}')
    folder.mkdir(parents=True)
    for number, name in enumerate([*TRAIN, 'test_batch']):
        (folder / f'{name}{suffix}').write_bytes(encode(*content(number)))
    return folder


def sentence(root, split='test'):
    with pytest.raises(InputError) as caught:
        CIFAR10Files(root, split)
    return str(caught.value)


@pytest.mark.parametrize('version', ['bin', 'py', 'py-current'])
@pytest.mark.parametrize(('split', 'numbers'), [('train', range(5)), ('test', [5]), ('val', [5])])
def test_versions_give_the_same_images(tmp_path, version, split, numbers):
    write(tmp_path, version)
    dataset = CIFAR10Files(tmp_path, split)
    images = np.concatenate([content(number)[0] for number in numbers]).reshape(-1, 3, 32, 32)
    assert np.array_equal(np.stack([item['inputs'] for item in dataset]), images)
    assert dataset.targets.tolist() == np.concatenate([content(number)[1] for number in numbers]).tolist()


def test_red_plane_comes_first(tmp_path):
    folder = write(tmp_path, 'bin')
    red = np.zeros((COUNT, 3072), np.uint8)
    red[:, :1024] = 255
    (folder / 'test_batch.bin').write_bytes(binary(red, [0] * COUNT))
    assert CIFAR10Files(tmp_path, 'test').image(0)[4, 7].tolist() == [255, 0, 0]


@pytest.mark.parametrize('version', ['bin', 'py'])
def test_folder_itself_is_a_root(tmp_path, version):
    folder = write(tmp_path, version, folder='anything')
    assert len(CIFAR10Files(folder, 'train')) == 25


def test_classes_are_in_the_published_order(tmp_path):
    write(tmp_path, 'bin')
    classes = CIFAR10Files(tmp_path, 'test').metainfo['classes']
    assert ' '.join(classes) == 'airplane automobile bird cat deer dog frog horse ship truck'


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), 'w')


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_malicious_pickle_is_refused_without_running(tmp_path, protocol):
    folder = write(tmp_path, 'py')
    trap = tmp_path / 'ran'
    (folder / 'test_batch').write_bytes(pickle.dumps({b'data': Malicious(trap)}, protocol=protocol))
    words = sentence(tmp_path)
    assert str(folder / 'test_batch') in words
    assert 'open' in words
    assert not trap.exists()


@pytest.mark.parametrize('name', ['os\nsystem', 'builtins\neval', 'numpy\nload', 'numpy.core.multiarray\nscalar'])
def test_other_names_are_refused(tmp_path, name):
    folder = write(tmp_path, 'py')
    (folder / 'test_batch').write_bytes(b'c' + name.encode() + b'\n.')
    assert name.replace('\n', '.') in sentence(tmp_path)


def test_array_in_column_order_is_read(tmp_path):
    folder = write(tmp_path, 'py')
    images, labels = content(5)
    (folder / 'test_batch').write_bytes(current_pickle(np.asfortranarray(images), labels))
    assert np.array_equal(CIFAR10Files(tmp_path, 'test').samples.transpose(0, 3, 1, 2).reshape(COUNT, -1), images)


def test_flags_of_a_dtype_do_not_reach_numpy(tmp_path):
    folder = write(tmp_path, 'py')
    crafted = PICKLE.replace(
        b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t', b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\xfft'
    )
    assert crafted != PICKLE
    (folder / 'test_batch').write_bytes(crafted)
    assert np.array_equal(cifar10.read_batch(folder / 'test_batch')[0], content(0)[0])


def test_changed_bytes_in_a_pickle_raise_nothing_but_input_errors(tmp_path):
    file = tmp_path / 'test_batch'
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        broken = bytearray(PICKLE)
        broken[rng.integers(150)] = rng.integers(256)
        file.write_bytes(broken)
        try:
            images, labels = cifar10.read_batch(file)
        except InputError:
            refused += 1
        else:
            assert (images.shape, labels.shape) == ((COUNT, 3072), (COUNT,))
    assert refused > 150


@pytest.mark.parametrize('broken', [b'', PICKLE[:-30], PICKLE[:60], b'\xff' * 50, b'<html>', b'\x80\x02K\x01R.'])
def test_truncated_pickle_is_named(tmp_path, broken):
    folder = write(tmp_path, 'py')
    (folder / 'test_batch').write_bytes(broken)
    words = sentence(tmp_path)
    assert str(folder / 'test_batch') in words
    assert 'download it again' in words


@pytest.mark.parametrize(
    ('batch', 'words'),
    [
        ([1, 2], 'no entries data and labels'),
        ({b'data': content(0)[0], b'fine_labels': [0] * COUNT}, 'no entries data and labels'),
        ({b'data': content(0)[0][:4], b'labels': [0] * COUNT}, 'uint8 (4, 3072)'),
        ({b'data': content(0)[0].astype(np.float32), b'labels': [0] * COUNT}, 'not of type uint8'),
        ({b'data': [1], b'labels': [0] * COUNT}, 'data of list'),
        ({b'data': content(0)[0], b'labels': [0] * 4}, 'whole numbers as labels'),
        ({b'data': content(0)[0], b'labels': [0.5] * COUNT}, 'whole numbers as labels'),
        ({b'data': content(0)[0], b'labels': None}, 'whole numbers as labels'),
        ({b'data': content(0)[0], b'labels': [0, 1, 2, 3, 10]}, 'labels from 0 to 10'),
        ({b'data': content(0)[0], b'labels': [0, 1, 2, 3, -1]}, 'labels from -1 to 3'),
    ],
)
def test_pickle_of_something_else_is_named(tmp_path, batch, words):
    folder = write(tmp_path, 'py')
    (folder / 'test_batch').write_bytes(pickle.dumps(batch, protocol=2))
    assert words in sentence(tmp_path)


@pytest.mark.parametrize('broken', [b'', binary(*content(0))[:-1], binary(*content(0)) * 2])
def test_binary_file_of_another_length_is_named(tmp_path, broken):
    folder = write(tmp_path, 'bin')
    (folder / 'test_batch.bin').write_bytes(broken)
    words = sentence(tmp_path)
    assert f'test_batch.bin has {len(broken)} bytes instead of {COUNT * 3073}' in words


def test_binary_file_with_impossible_labels_is_named(tmp_path):
    folder = write(tmp_path, 'bin')
    (folder / 'test_batch.bin').write_bytes(binary(content(0)[0], [77] * COUNT))
    assert 'labels from 77 to 77' in sentence(tmp_path)


@pytest.mark.parametrize('version', ['bin', 'py'])
def test_missing_batch_is_named(tmp_path, version):
    folder = write(tmp_path, version)
    file = sorted(folder.glob('data_batch_3*'))[0]
    file.unlink()
    assert f'{file} is missing' in sentence(tmp_path, 'train')


@pytest.mark.parametrize('name', ['cifar-10-python.tar.gz', 'cifar-10-binary.tar.gz'])
@pytest.mark.parametrize('direct', [False, True])
def test_packed_archive_is_to_be_unpacked(tmp_path, name, direct):
    (tmp_path / name).write_bytes(b'')
    assert f'tar -xzf {name}' in sentence(tmp_path / name if direct else tmp_path)


def test_missing_root_tells_both_layouts_and_the_option(tmp_path):
    words = sentence(tmp_path / 'nowhere', 'train')
    for expected in ('cifar-10-batches-bin/data_batch_1.bin', 'cifar-10-batches-py/data_batch_1', 'data_root=PATH'):
        assert expected in words


@pytest.mark.slow
def test_bi_real_20_learns_reds_and_blues_through_every_stage_of_its_recipe(tmp_path, run_tool, monkeypatch):
    """``COUNT`` images a file, whose label is that of the lighter of two colours."""
    count, rng = 40, np.random.default_rng(0)
    monkeypatch.setattr(cifar10, 'IMAGES_PER_FILE', count)
    folder = tmp_path / 'cifar-10-batches-bin'
    folder.mkdir()
    for name in [*TRAIN, 'test_batch']:
        images, labels = rng.integers(0, 128, (count, 3, 1024)), rng.integers(0, 2, count)
        images[np.arange(count), 2 * labels] += 128
        (folder / f'{name}.bin').write_bytes(binary(images.reshape(count, -1).astype(np.uint8), labels))
    stages = ('float', 'leaky_clip', 'clip', 'binary', 'bn')
    options = [f'stages.{stage}.train_cfg.max_epochs={1 + (stage in ("float", "binary"))}' for stage in stages]
    options += [f'data_root={tmp_path}', 'train_dataloader.batch_size=20', 'train_dataloader.num_workers=0']
    options += ['model.backbone.base_channels=8']
    ended = run_tool('train.py', 'bireal_r20_cifar10', '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert ended.status == 0, ended.err
    rows = json.loads((tmp_path / 'run' / 'results.json').read_text())['stages']
    assert [row['name'] for row in rows] == list(stages)
    assert rows[-1]['top1'] >= 90
    weights = torch.load(tmp_path / 'run' / rows[-1]['checkpoint'], weights_only=True)['state_dict']
    convs = [value for name, value in weights.items() if name.endswith('.conv1.weight') and '.layer' in name]
    assert len(convs) == 18
    assert all(conv.abs().unique().tolist() == [1] for conv in convs)
