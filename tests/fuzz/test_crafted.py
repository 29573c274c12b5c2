"""Small files that ask for much: refused in a sentence before the memory is taken, within the limits of ``Cage``."""

import argparse
import gzip
import struct
import zipfile
import zlib

import pytest
import torch

from bireal_plugin.checkpoints.file import KEY, origin_of
from bireal_plugin.commands.arguments import Overrides
from bireal_plugin.depth.kitti.own_pairs import pairs_of_table
from bireal_plugin.errors import InputError
from bireal_plugin.training.config import load_config
from tests.depth.recordings import cam_to_cam

HUGE = 10**9


def png(width, height, depth, colour):
    """The header of a PNG, and a few of its rows."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))

    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    rows = zlib.compress(bytes(width * depth // 8 + 1) * 20)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')


def npy(shape):
    """The header of an array of float32, and one number."""
    text = repr(dict(descr='<f4', fortran_order=False, shape=shape)).ljust(117) + '\n'
    return b'\x93NUMPY\1\0' + struct.pack('<H', len(text)) + text.encode() + bytes(4)


def zipped(path, **parts):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path.read_bytes()


def idx(count):
    return bytes([0, 0, 8, 3]) + struct.pack('>3I', count, 28, 28)


def laughs():
    lines = ['a: &a [x, x, x, x, x, x, x, x, x, x]']
    lines += [
        f'{after}: &{after} [{", ".join([f"*{each}"] * 10)}]'
        for each, after in zip('abcdefgh', 'bcdefghi', strict=True)
    ]
    return '\n'.join(lines).encode()


# Reader, name of the file, content by a folder for drafts, and words of the sentence.
CRAFTED = {
    'idx of a gzip bomb': (
        'fashion',
        'a.gz',
        lambda _: gzip.compress(idx(9)) + gzip.compress(bytes(HUGE // 100)) * 100,
        'holds more bytes',
    ),
    'idx of 4 billion images': ('fashion', 'a.gz', lambda _: gzip.compress(idx(2**32 - 1)), 'more than 47040000'),
    'pickle with a high place': ('cifar', 'a', lambda _: b'\x80\x02]r\xff\xff\xff\x0f.', 'place 268435455'),
    'pickle of a long text': ('cifar', 'a', lambda _: b'\x80\x05\x96' + struct.pack('<Q', 2**33) + b'x.', 'truncated'),
    'pickle that repeats': (
        'cifar',
        'a',
        lambda _: b'\x80\x02X\x00\x00\x10\x00' + b'x' * 2**20 + b'q\x000'
        + b'(' + b'c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R' * 2000 + b'l.',
        'more bytes than the file has',
    ),
    '30 000 x 30 000 depth map': ('depth-map', 'a.png', lambda _: png(30_000, 30_000, 16, 0), 'million pixels'),
    '60 000 x 60 000 depth map': ('depth-map', 'a.png', lambda _: png(60_000, 60_000, 16, 0), 'million pixels'),
    '13 000 x 13 000 photo': ('image', 'a.png', lambda _: png(13_000, 13_000, 8, 2), 'million pixels'),
    '60 000 x 60 000 photo': ('image', 'a.png', lambda _: png(60_000, 60_000, 8, 2), 'million pixels'),
    'array of 4 TB': ('prediction', 'a.npy', lambda _: npy((1, 10**6, 10**6)), 'no whole .npy file'),
    'archive of 4 TB': ('prediction', 'a.npz', lambda place: zipped(place, a=npy((HUGE, 999))), 'no whole .npz file'),
    'archive of 1 GB': (
        'prediction',
        'a.npz',
        lambda place: zipped(place, a=npy((1, HUGE // 4, 1)) + bytes(HUGE - 4)),
        'unpacks to 1.0 GB',
    ),
    'renamed array': ('prediction', 'a.npy', lambda place: zipped(place, a=b'x'), 'no whole .npy file'),
    'aliases of aliases': ('config', 'a.yaml', lambda _: laughs(), 'more than 100000 values'),
    'nested JSON': ('config', 'a.json', lambda _: b'[' * 10**5 + b']' * 10**5, 'a.json'),
    'compressed checkpoint': ('convert', 'a.pth', lambda place: zipped(place, a=bytes(HUGE)), 'compressed archive'),
    'huge header of safetensors': ('convert', 'a.safetensors', lambda _: struct.pack('<Q', 2**40) + b'{}', 'truncated'),
    'nested options': ('options', 'a.txt', lambda _: b'model.x=' + b'[' * 22 + b'1' + b']' * 22, 'brackets within'),
    'empty type': ('options', 'a.txt', lambda _: b'model.type=', 'is no KEY=VALUE'),
    'index of 5 000 digits': ('split-list', 'a.txt', lambda _: LINE % (b'1' * 5000), 'is none of'),
    'index of a superscript': ('split-list', 'a.txt', lambda _: LINE % '\u00b2'.encode(), 'is none of'),
    'calibration in superscripts': (
        'calibration',
        'calib_cam_to_cam.txt',
        lambda _: cam_to_cam(S_rect_02='\u00b2 \u00b2').encode(),
        'text instead of 2 numbers',
    ),
}  # fmt: skip
LINE = b'2011_09_26/2011_09_26_drive_0001_sync %s l\n'


@pytest.mark.parametrize('name', CRAFTED)
def test_a_file_that_asks_for_much_is_refused(cage, tmp_path, name):
    reader, file, content, words = CRAFTED[name]
    path = tmp_path / file
    path.write_bytes(content(tmp_path / 'draft'))
    told = cage.read(reader, path)
    assert told['outcome'] == 'refused', told['text']
    assert words in told['text']
    assert told['bytes'] < 2**28


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda content: content['meta'].update(epoch=-1), 'its entry meta.epoch'),
        (lambda content: content['meta'].update(iter=2**62), 'its entry meta.iter'),
        (lambda content: content['meta'].update(seed='x'), 'its entry meta.seed'),
        (lambda content: content.update(meta=[]), 'damaged'),
        (lambda content: content['message_hub'].update(curves={'a': 3}), 'its entry message_hub.curves.a'),
        (lambda content: content['message_hub'].update(resumed_keys={'a': []}), 'its entry message_hub.resumed_keys'),
        (lambda content: content['optimizer']['state'][0].update(momentum_buffer=1), 'optimizer.state.momentum_buffer'),
        (
            lambda content: content['optimizer']['state'][0].update(momentum_buffer=torch.eye(2).to_sparse()),
            'state.mom',
        ),
        (lambda content: content.update(optimizer=3), 'damaged'),
    ],
    ids=['epoch', 'iter', 'seed', 'meta', 'curve', 'keys', 'state', 'sparse', 'optimizer'],
)
def test_damaged_progress_is_not_resumed(cage, tmp_path, tmp_path_factory, change, words):
    seed = next(tmp_path_factory.getbasetemp().glob('seeds*/resume/epoch_1.pth'))
    content = torch.load(seed, weights_only=True)
    change(content)
    torch.save(content, tmp_path / 'epoch_1.pth')
    told = cage.read('resume', tmp_path / 'epoch_1.pth')
    assert told['outcome'] == 'refused', told['text']
    assert words in told['text']


@pytest.mark.parametrize('value', ['[1,(2,3)]aaaa', '(1,2)b', '[1]]', '[1,2],(3)x'])
def test_text_behind_a_list_is_no_value(value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Overrides)
    with pytest.raises(InputError, match=r'behind a list or tuple stands neither|cannot be read'):
        parser.parse_args(['--cfg-options', f'model.x={value}' + 'a' * 300])
    assert parser.parse_args(['--cfg-options', 'model.x=[1,2],(3,4)']).cfg_options == {'model.x': [[1, 2], (3, 4)]}


@pytest.mark.parametrize('text', ["train_dataloader = 'x'", 'train_dataloader = dict(dataset=None)'])
def test_a_dataloader_is_a_dict_with_a_dict(tmp_path, text):
    (tmp_path / 'config.py').write_text(f"model = dict(type='BiRealResNet')\n{text}\n")
    with pytest.raises(InputError, match='train_dataloader must be a dict with a dict dataset'):
        load_config(str(tmp_path / 'config.py'))


@pytest.mark.parametrize('told', [dict(stage=torch.zeros(3)), dict(recipe=torch.zeros(3)), dict(name=b'x')])
def test_names_in_a_checkpoint_are_text(told):
    with pytest.raises(InputError, match='must name config and stages by text'):
        origin_of({'meta': {KEY: dict(config=dict(model=dict()), **told)}}, 'net.pth')


def test_a_table_of_pairs_with_an_endless_field(tmp_path):
    (tmp_path / 'pairs.csv').write_text('left,right\n' + 'a' * 140_000 + ',b\n')
    with pytest.raises(InputError, match=r'pairs.csv is no table of stereo pairs: field larger'):
        pairs_of_table(tmp_path / 'pairs.csv', focal=1.0, baseline=1.0)
