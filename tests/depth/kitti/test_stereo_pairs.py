"""Stereo pairs as a dataset."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from bireal_plugin.depth.kitti.raw import Frame
from bireal_plugin.depth.kitti.stereo_pairs import StereoPairs
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.errors import InputError
from tests.depth.recordings import BASELINE, FOCAL, FRAME, HEIGHT, SHIFT, WIDTH, write_date, write_frame, write_scan


@pytest.fixture
def root(tmp_path):
    """One date with one pair."""
    write_date(tmp_path)
    write_frame(tmp_path)
    return tmp_path


def as_image(planes):
    return planes.numpy().transpose(1, 2, 0)


def test_an_item_at_the_size_on_disk_is_the_files(root):
    left, right = write_frame(root)
    item = StereoPairs(root, 'train', (HEIGHT, WIDTH))[0]
    np.testing.assert_array_equal(as_image(item['left']), left)
    np.testing.assert_array_equal(as_image(item['right']), right)
    assert item['left'].dtype == torch.uint8
    assert item['name'] == '2011_09_26_drive_0001_sync_0000000007'


def test_images_are_averaged_down_and_the_focal_length_follows(root):
    left, _ = write_frame(root)
    item = StereoPairs(root, 'train', (HEIGHT // 2, WIDTH // 2))[0]
    halves = left.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).astype(float).mean((1, 3))
    assert np.abs(as_image(item['left']) - halves).max() <= 0.5
    assert item['focal'] == pytest.approx(FOCAL / 2)
    assert item['baseline'] == pytest.approx(BASELINE)


def test_the_baseline_option_replaces_the_calibration(root):
    assert StereoPairs(root, 'train', baseline=0.54)[0]['baseline'] == 0.54


def shift_of(item):
    """The horizontal shift that moves right onto left best, in px."""
    left, right = (as_image(item[side]).astype(float) for side in ('left', 'right'))
    fits = {shift: np.abs(left - np.roll(right, shift, axis=1)).mean() for shift in range(-30, 31)}
    return min(fits, key=fits.get)


def test_a_mirrored_pair_has_its_images_swapped_and_positive_disparity(root):
    plain = StereoPairs(root, 'train', (HEIGHT, WIDTH))[0]
    dataset = StereoPairs(root, 'train', (HEIGHT, WIDTH), flip=True)
    items = [dataset[epoch, 0] for epoch in range(20)]
    mirrored = [item for item in items if not torch.equal(item['left'], plain['left'])]
    assert 3 < len(mirrored) < 17
    for item in mirrored:
        assert torch.equal(item['left'], plain['right'].flip(-1))
        assert torch.equal(item['right'], plain['left'].flip(-1))
    assert shift_of(plain) == shift_of(mirrored[0]) == SHIFT


def test_mirroring_is_a_function_of_seed_epoch_and_index(root):
    first, again, other = (StereoPairs(root, 'train', (24, 80), flip=True, seed=seed) for seed in (0, 0, 1))
    drawn = [[float(dataset[epoch, 0]['left'][0, 0, 0]) for epoch in range(32)] for dataset in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_plain_index_mirrors_by_torch_generator(root):
    dataset = StereoPairs(root, 'train', (24, 80), flip=True)
    torch.manual_seed(0)
    drawn = [dataset[0]['left'].numpy().tobytes() for _ in range(20)]
    torch.manual_seed(0)
    assert len(set(drawn)) == 2
    assert drawn == [dataset[0]['left'].numpy().tobytes() for _ in range(20)]


def test_swap_puts_a_wrongly_saved_pair_right(root):
    right_way = StereoPairs(root, 'train', (HEIGHT, WIDTH))[0]
    write_frame(root, swapped=True)
    assert shift_of(StereoPairs(root, 'train', (HEIGHT, WIDTH))[0]) == -SHIFT
    assert torch.equal(StereoPairs(root, 'train', (HEIGHT, WIDTH), swap=True)[0]['left'], right_way['left'])


def test_frames_without_a_partner_are_left_out_and_counted(root):
    write_frame(root, Frame('2011_09_26', '0001', 8), sides=('image_02',))
    dataset = StereoPairs(root, 'train')
    assert len(dataset) == 1
    assert [frame.index for frame in dataset.split.incomplete] == [8]
    with pytest.raises(IndexError):
        dataset[1]


def test_each_date_has_its_own_camera(root):
    write_date(root, '2011_10_03', S_rect_02=f'{2 * WIDTH} {2 * HEIGHT}')
    write_frame(root, Frame('2011_10_03', '0034', 0))
    focals = [item['focal'] for item in StereoPairs(root, 'train', (48, 160))]
    assert focals == pytest.approx([FOCAL / 2, FOCAL / 4])


def test_batches_collate_with_mmengine(root):
    write_frame(root, Frame('2011_09_26', '0001', 8))
    dataset = DATASETS.build(dict(type='StereoPairs', root=str(root), split='train', size=(32, 96)))
    (batch,) = DataLoader(dataset, batch_size=2, collate_fn=default_collate)
    assert batch['left'].shape == batch['right'].shape == (2, 3, 32, 96)
    np.testing.assert_allclose(batch['focal'], [FOCAL * 96 / WIDTH] * 2)
    assert batch['name'] == ['2011_09_26_drive_0001_sync_0000000007', '2011_09_26_drive_0001_sync_0000000008']


def test_lidar_truth_has_the_size_on_disk(root):
    write_scan(root, [[10.27, 0, -0.08, 1]])  # straight ahead of camera 0
    item = StereoPairs(root, 'train', truth='lidar')[0]
    assert item['size'].tolist() == list(item['depth'].shape) == [HEIGHT, WIDTH]
    row, column = np.argwhere(item['depth'].numpy())[0]
    assert (row, column) == (45 - 1, round(160 + 0.06 * FOCAL / 10) - 1)
    assert item['depth'][row, column] == pytest.approx(10)
    scanner = StereoPairs(root, 'train', truth='velodyne')[0]
    assert scanner['depth'].max() == pytest.approx(10.27)


def annotate(root, shape):
    folder = root / FRAME.folder / 'proj_depth' / 'groundtruth' / 'image_02'
    folder.mkdir(parents=True)
    write_depth_png(folder / f'{FRAME.file}.png', np.full(shape, 12.5))


def test_annotated_truth(root, tmp_path):
    annotate(tmp_path / 'annotated', (HEIGHT, WIDTH))
    item = StereoPairs(root, 'train', truth='annotated', annotated=tmp_path / 'annotated')[0]
    assert item['depth'].unique().tolist() == [12.5]


@pytest.mark.parametrize('truth', ['lidar', 'annotated'])
def test_a_split_without_truth_is_told_at_once(root, truth):
    with pytest.raises(InputError, match=rf'none of the 1 frames .* 7 has {truth} '):
        StereoPairs(root, 'train', truth=truth)


def test_frames_without_truth_are_left_out_and_counted(root):
    other = Frame('2011_09_26', '0001', 8)
    write_frame(root, other)
    write_scan(root, [[10, 0, 0, 1]], other)
    dataset = StereoPairs(root, 'train', truth='lidar')
    assert [item['name'][-10:] for item in dataset] == [other.file]
    assert dataset.without_truth == 1


def test_a_scan_without_its_calibration_is_told_at_once(root):
    write_scan(root, [[10, 0, 0, 1]])
    (root / '2011_09_26' / 'calib_velo_to_cam.txt').unlink()
    with pytest.raises(InputError, match='calib_velo_to_cam'):
        StereoPairs(root, 'train', truth='lidar')


def test_a_cropped_depth_map_is_refused(root):
    annotate(root, (HEIGHT - 2, WIDTH))
    with pytest.raises(InputError, match='320 x 94'):
        StereoPairs(root, 'train', truth='annotated')[0]


def test_a_scan_does_not_fit_resized_images(root):
    write_date(root, S_rect_02='640 192')
    write_scan(root, [[10, 0, 0, 1]])
    with pytest.raises(InputError, match=r'320 x 96, but the calibration.* 640 x 192'):
        StereoPairs(root, 'train', truth='lidar')[0]


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('kept', [0.0, 0.5, 0.95])
def test_a_truncated_image_is_named(tmp_path, suffix, kept):
    write_date(tmp_path)
    write_frame(tmp_path, suffix=suffix)
    path = tmp_path / FRAME.date / FRAME.folder / 'image_03' / 'data' / f'{FRAME.file}{suffix}'
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InputError, match=f'image_03/data/0000000007{suffix}'):
        StereoPairs(tmp_path, 'train')[0]


def replace_right(root, picture):
    Image.fromarray(picture).save(root / FRAME.date / FRAME.folder / 'image_03' / 'data' / f'{FRAME.file}.png')


def test_a_16_bit_image_is_refused(root):
    replace_right(root, np.zeros((HEIGHT, WIDTH), np.uint16))
    with pytest.raises(InputError, match='is a 16-bit picture'):
        StereoPairs(root, 'train')[0]


def test_images_of_different_sizes_are_no_pair(root):
    replace_right(root, np.zeros((HEIGHT, WIDTH - 1, 3), np.uint8))
    with pytest.raises(InputError, match='319'):
        StereoPairs(root, 'train')[0]


def test_a_grey_pair_becomes_three_equal_channels(root):
    grey = cv2.cvtColor(write_frame(root)[1], cv2.COLOR_RGB2GRAY)
    replace_right(root, grey)
    planes = StereoPairs(root, 'train', (HEIGHT, WIDTH))[0]['right'].numpy()
    np.testing.assert_array_equal(planes, np.stack([grey] * 3))


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (dict(root=None), 'root'),
        (dict(truth='depth'), 'depth'),
        (dict(truth='lidar', flip=True), 'flip'),
        (dict(size=(0, 608)), 'size'),
        (dict(seed=-1), 'seed'),
        (dict(baseline=-0.5), 'baseline'),
        (dict(split='validation'), 'validation'),
    ],
)
def test_impossible_options_are_told(root, options, named):
    with pytest.raises(InputError, match=named):
        StereoPairs(**{'root': root, 'split': 'train', **options})


def test_a_missing_calibration_is_told_at_once(tmp_path):
    write_frame(tmp_path)
    with pytest.raises(InputError, match=r'2011_09_26_calib\.zip'):
        StereoPairs(tmp_path, 'train')


def test_the_real_sample(shared_data):
    root = shared_data / 'kitti' / 'raw'
    item = StereoPairs(root, 'test', truth='lidar')[0]
    assert item['left'].shape == (3, 160, 608)
    assert item['focal'] * item['baseline'] == pytest.approx(384.38 * 608 / 1242, abs=0.01)
    assert item['depth'].shape == (375, 1242)
    assert 15_000 < int((item['depth'] > 0).sum()) < 20_000
    assert len(StereoPairs(root, 'train')) == 6
