"""Rectified pairs of one's own rig: two folders or a table, and training on them without ground truth."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image

import bireal_plugin.depth  # noqa: F401  registers the data set
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.street.scene import render_street
from bireal_plugin.errors import InputError

SIZE = (96, 256)
FOCAL, BASELINE = 180.0, 0.3


@pytest.fixture(scope='module')
def rig(tmp_path_factory):
    """A folder with ``left`` and ``right``, four pairs."""
    root = tmp_path_factory.mktemp('rig')
    for side in ('left', 'right'):
        (root / side).mkdir()
    for seed in range(4):
        scene = render_street(seed, SIZE, focal=FOCAL, baseline=BASELINE)
        Image.fromarray(scene.left).save(root / f'left/{seed}.png')
        Image.fromarray(scene.right).save(root / f'right/{seed}.png')
    return root


def folders(rig, **changed):
    options = dict(left=rig / 'left', right=rig / 'right', focal=FOCAL, baseline=BASELINE, size=(48, 128))
    return DATASETS.build({'type': 'StereoPairs', **options, **changed})


def test_two_folders_are_pairs_by_name(rig, tmp_path):
    shutil.copytree(rig, tmp_path / 'rig')
    (tmp_path / 'rig/left/2.png').unlink()
    (tmp_path / 'rig/right/notes.txt').write_text('')
    pairs = folders(tmp_path / 'rig')
    assert [pairs[index]['name'] for index in range(len(pairs))] == ['0', '1', '3']
    item = folders(tmp_path / 'rig', size=SIZE)[2]
    for side in ('left', 'right'):
        np.testing.assert_array_equal(item[side].permute(1, 2, 0), np.asarray(Image.open(rig / side / '3.png')))


def test_the_focal_length_is_that_on_disk_and_the_baseline_as_given(rig):
    item = folders(rig)[0]
    assert (item['focal'], item['baseline']) == (FOCAL / 2, BASELINE)
    (camera,) = folders(rig).metainfo['cameras']
    assert (camera['focal'], camera['width'], camera['height'], camera['baseline']) == (FOCAL, 256, 96, BASELINE)


def test_a_table_names_files_and_cameras(rig, tmp_path):
    near = tmp_path / 'pairs.csv'
    lines = ['left,right,focal,baseline']
    lines += [f'{rig}/left/{i}.png, {rig}/right/{i}.png,{FOCAL + i // 2},{BASELINE}' for i in range(4)]
    near.write_text('\ufeff' + '\r\n'.join(lines))
    pairs = DATASETS.build(dict(type='StereoPairs', pairs=near, size=SIZE))
    assert [pairs[index]['focal'] for index in range(4)] == [FOCAL, FOCAL, FOCAL + 1, FOCAL + 1]
    assert [camera['focal'] for camera in pairs.metainfo['cameras']] == [FOCAL, FOCAL + 1]
    near.write_text(f'right,left\n{rig}/right/0.png,{rig}/left/0.png\n')
    one = DATASETS.build(dict(type='StereoPairs', pairs=near, focal=FOCAL, baseline=BASELINE, size=SIZE))
    assert torch.equal(one[0]['left'], folders(rig, size=SIZE)[0]['left'])


@pytest.mark.parametrize(
    'table',
    [
        'Left;RIGHT;focal;baseline\nleft/1.png;right/1.png;180,0;0,3',
        'left\tright\tfocal\tbaseline\nleft/1.png\tright/1.png\t180\t0.3',
        'left, right, focal, baseline\nleft/1.png, right/1.png, 180, 0.3',
        '# my rig\n\nleft,right,focal,baseline\nleft\\1.png,right\\1.png,180,0.3\n\n',
    ],
    ids=['semicolons', 'tabs', 'spaces', 'comment-and-windows'],
)
def test_tables_are_read_as_spreadsheets_and_people_write_them(rig, tmp_path, table):
    shutil.copytree(rig, tmp_path / 'rig')
    (tmp_path / 'rig/pairs.csv').write_text(table)
    (item,) = DATASETS.build(dict(type='StereoPairs', pairs=tmp_path / 'rig/pairs.csv', size=SIZE))
    assert (item['name'], item['focal'], item['baseline']) == ('1', FOCAL, BASELINE)


def test_a_focal_length_of_a_table_is_that_of_the_image_in_its_line(rig, tmp_path):
    """One number for images of two sizes is two cameras, and not one at another scale."""
    shutil.copytree(rig, tmp_path / 'rig')
    for side in ('left', 'right'):
        path = tmp_path / f'rig/{side}/1.png'
        Image.open(path).resize((128, 48)).save(path)
    lines = [f'left/{i}.png,right/{i}.png,180,0.3' for i in range(2)]
    (tmp_path / 'rig/pairs.csv').write_text('\n'.join(['left,right,focal,baseline', *lines]))
    pairs = DATASETS.build(dict(type='StereoPairs', pairs=tmp_path / 'rig/pairs.csv', size=(48, 128)))
    assert [pairs[index]['focal'] for index in range(2)] == [90, 180]
    assert [camera['width'] for camera in pairs.metainfo['cameras']] == [256, 128]


def test_a_side_that_is_the_other_is_told(rig, tmp_path):
    with pytest.raises(InputError, match=r'left and right are one folder'):
        folders(rig, right=rig / 'left')
    shutil.copytree(rig / 'left', tmp_path / 'copied')
    with pytest.raises(InputError, match=r'left and right are the same images, as .*left/0\.png'):
        folders(rig, right=tmp_path / 'copied')


def test_files_of_a_table_lie_beside_it(rig, tmp_path):
    shutil.copytree(rig, tmp_path / 'rig')
    (tmp_path / 'rig/pairs.csv').write_text('left,right\nleft/1.png,right/1.png\n')
    pairs = DATASETS.build(
        dict(type='StereoPairs', pairs=tmp_path / 'rig/pairs.csv', focal=FOCAL, baseline=BASELINE, size=SIZE)
    )
    assert torch.equal(pairs[0]['right'], folders(rig, size=SIZE)[1]['right'])


def test_swapped_folders_are_told(rig):
    with pytest.raises(InputError, match=r'left and right are swapped: .* set swap=True'):
        folders(rig, left=rig / 'right', right=rig / 'left')
    swapped = folders(rig, left=rig / 'right', right=rig / 'left', swap=True)
    assert torch.equal(swapped[0]['left'], folders(rig)[0]['left'])


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(focal=None), r'need left=FOLDER, right=FOLDER, focal=PX .* and baseline=METRES'),
        (dict(baseline=None), r'need left=FOLDER'),
        (dict(right=None), r'need left=FOLDER'),
        (dict(focal=4.2), r'4\.2 px at a width of 256 px .* is that of no rectified image; one in mm becomes px by'),
        (dict(focal=-3.0), 'focal length .* must be a positive number'),
        (dict(left='nowhere'), 'there is no folder nowhere'),
        (dict(root='kitti', split='all'), 'root, split and truth are those of KITTI'),
        (dict(truth='lidar'), 'root, split and truth are those of KITTI'),
        (dict(pairs='pairs.csv'), 'leave left and right out'),
        (dict(left=None, right=None, pairs='nowhere.csv'), 'there is no table nowhere.csv'),
        (dict(left=None, right=None), 'StereoPairs has no root'),
    ],
)
def test_what_does_not_describe_pairs_is_a_sentence(rig, changed, message):
    with pytest.raises(InputError, match=message):
        folders(rig, **changed)


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ('left,focal,baseline\n', 'has no column right in its first line'),
        ('left,right\n', 'has no column baseline, focal in its first line'),
        ('left,right,focal,baseline\n', 'has no pairs'),
        ('left,right,focal,baseline\ngone.png,gone.png,1,1\n', r'line 2: there is no image .*gone\.png'),
        (
            'left,right,focal,baseline\n{0}/left/0.png,{0}/right/0.png,long,1\n',
            'line 2: focal and baseline must be num',
        ),
        (
            'left,right,focal,baseline\n{0}/left/0.png,{0}/right/0.png,0,1\n',
            'focal length .* must be a positive number',
        ),
    ],
)
def test_a_table_with_a_mistake_is_a_sentence(rig, tmp_path, table, message):
    (tmp_path / 'pairs.csv').write_text(table.format(rig))
    with pytest.raises(InputError, match=message):
        DATASETS.build(dict(type='StereoPairs', pairs=tmp_path / 'pairs.csv'))


def test_folders_without_a_common_name_are_told(rig, tmp_path):
    (tmp_path / 'right').mkdir()
    shutil.copy(rig / 'right/0.png', tmp_path / 'right/right_0.png')
    with pytest.raises(InputError, match=r'have no images of one name.*or list them in a table'):
        folders(rig, right=tmp_path / 'right')


@pytest.fixture(scope='module')
def trained(rig, run_tool, tmp_path_factory):
    """The run of the config for own pairs, made small."""
    folder = tmp_path_factory.mktemp('own')
    config = folder / 'tiny_own.py'
    config.write_text(f"""
_base_ = {str(Path(__file__).parents[3] / 'configs/depth/bireal_r18_own_pairs.py')!r}
model = dict(backbone=dict(base_channels=8), head=dict(channels=(16, 8, 8)))
train_dataloader = dict(batch_size=2, dataset=dict(size=(32, 96)))
stages = dict(real=dict(train_cfg=dict(max_epochs=1)), binary=dict(train_cfg=dict(max_epochs=1)))
""")
    data = [f'train_dataloader.dataset.{side}={rig / side}' for side in ('left', 'right')]
    data += [f'train_dataloader.dataset.focal={FOCAL}', f'train_dataloader.dataset.baseline={BASELINE}']
    ended = run_tool('train.py', config, '--work-dir', folder / 'run', '--cfg-options', *data)
    assert ended.status == 0, ended.err
    return folder / 'run', ended


def test_training_without_ground_truth_says_that_nothing_is_scored(trained):
    folder, _ = trained
    log = next((folder / 'binary').glob('*/*.log')).read_text()
    assert 'nothing is scored, since val_dataloader is None' in log
    assert (folder / 'binary/epoch_1.pth').is_file()
    assert 'delta1' not in (folder / 'results.json').read_text()


def test_the_rig_reaches_the_printed_metres(trained, rig, run_tool, tmp_path):
    """Train, export, infer, as the documentation does: the rig's baseline and the photo's focal length."""
    folder, _ = trained
    ended = run_tool('../depth/export.py', folder / 'binary/epoch_1.pth', '--format', 'packed', '--out', tmp_path)
    assert ended.status == 0, ended.err
    (file,) = tmp_path.glob('*.safetensors')
    ended = run_tool(
        *('../depth/infer.py', rig / 'left/0.png', '--checkpoint', file, '--focal', 360, '--at', '100,80'),
        *('--out', tmp_path / 'out', '--save', 'npy'),
    )
    assert ended.status == 0, ended.err
    assert f'baseline {BASELINE:.4f} m of the pairs in training' in ended.out
    printed = float(re.search(r'at 100,80: ([\d.]+) m', ended.out)[1])
    disparity = Predictor(file)(rig / 'left/0.png')
    assert printed == pytest.approx(360 * BASELINE / disparity[80, 100], abs=0.006)


@pytest.mark.parametrize('given', [['val_dataloader=None', 'test_dataloader=None'], ['val_dataloader=None']])
def test_kitti_trains_without_validation(given, run_tool, shared_data, tmp_path):
    config = tmp_path / 'tiny_kitti.py'
    config.write_text(f"""
_base_ = {str(Path(__file__).parents[3] / 'configs/depth/bireal_r18_unet_kitti.py')!r}
data_root = {str(shared_data / 'kitti' / 'raw')!r}
model = dict(backbone=dict(base_channels=8), head=dict(channels=(16, 8, 8, 8, 8)))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(split='all', size=(32, 96)))
train_cfg = dict(max_iters=2)
default_hooks = dict(checkpoint=dict(interval=1))
stages = dict(_delete_=True, real=dict(model=dict(backbone=dict(activation='clip', weights='real'))))
""")
    ended = run_tool('train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options', *given)
    assert ended.status == 0, ended.err
    assert {path.name for path in (tmp_path / 'run/real').glob('*.pth')} == {'iter_1.pth', 'iter_2.pth'}
