"""The evaluation command, on real frames with block matching and on recordings whose errors are known."""

import csv
import re

import cv2
import numpy as np
import pytest

from bireal_plugin.depth.evaluation.cases import sgbm_disparity
from bireal_plugin.depth.evaluation.metrics import METRIC_NAMES
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.kitti.raw import Frame, RawFolder
from bireal_plugin.depth.maps import read_depth_png, write_depth_png
from bireal_plugin.depth.street.pairs import StreetPairs
from tests.depth.recordings import BASELINE, FOCAL, FRAME, HEIGHT, SHIFT, WIDTH, write_date, write_frame, write_scan
from tests.depth.tiny_depth import tiny_depth

NAME = '2011_09_26_drive_0001_sync_0000000007'
SECOND, THIRD = Frame('2011_09_26', '0002', 7), Frame('2011_09_26', '0003', 7)
DEPTH = FOCAL * BASELINE / SHIFT  # m, of everything in the recordings


@pytest.fixture
def evaluate(run_tool):
    return lambda *arguments: run_tool('../depth/evaluate.py', *arguments)


@pytest.fixture
def raw(tmp_path):
    """One frame, with laser points at its true depth all over the crop."""
    root = tmp_path / 'raw'
    write_date(root)
    write_frame(root)
    across, up = np.meshgrid(np.linspace(-4, 4, 40), np.linspace(-1.2, -0.1, 12))
    write_scan(root, np.stack([np.full(480, DEPTH + 0.27), across.ravel(), up.ravel(), np.ones(480)], axis=1))
    return root


@pytest.fixture
def predicted(tmp_path):
    """A folder with the right disparity of the frame."""
    folder = tmp_path / 'predicted'
    folder.mkdir()
    np.save(folder / f'{NAME}.npy', np.full((HEIGHT, WIDTH), SHIFT, np.float32))
    return folder


def row(ended, cap='80'):
    """The table's figures for a cap, by name."""
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    names = next(line for line in lines if 'abs_rel' in line).split()
    figures = next(line for line in lines if line.split()[:2] == [cap, 'm']).split()[2:]
    return dict(zip(names[1:], map(float, figures), strict=True))


@pytest.mark.parametrize(
    ('flags', 'abs_rel', 'rmse', 'delta1', 'named'),
    [
        ((), 0.0914, 5.153, 0.9205, ('raw lidar, camera z', '0.5327 m (calibration 2011_09_26)')),
        (('--truth', 'velodyne'), 0.0965, 5.157, 0.9158, ('raw lidar, velodyne x', '0.5327 m')),
        (('--baseline', 0.54), 0.1001, 5.209, 0.9217, ('raw lidar, camera z', '0.5400 m (--baseline)')),
    ],
)
def test_block_matching_has_the_reference_figures(evaluate, shared_data, flags, abs_rel, rmse, delta1, named):
    ended = evaluate('--disparities', 'sgbm', '--filled-only', '--raw', shared_data / 'kitti/raw', *flags)
    figures = row(ended)
    assert figures['abs_rel'] == pytest.approx(abs_rel, abs=1e-9)
    assert figures['rmse'] == pytest.approx(rmse, abs=1e-9)
    assert figures['delta1'] == pytest.approx(delta1, abs=1e-9)
    for text in (
        *named,
        'crop          garg',
        'predicted are 82.',
        'images        3,',
        'skipped: 6 without ground truth',
    ):
        assert text in ended.out


def test_right_disparities_have_no_error(evaluate, raw, predicted):
    figures = row(evaluate('--disparities', predicted, '--raw', raw))
    assert figures == {**dict.fromkeys(METRIC_NAMES, 0.0), **{f'delta{k}': 1.0 for k in (1, 2, 3)}}


@pytest.mark.parametrize('size', [(HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 4)])
@pytest.mark.parametrize('alias', [f'{NAME}_disparity', f'{FRAME.folder}/{FRAME.file}', FRAME.file])
@pytest.mark.parametrize('suffix', ['.npy', '.npz', '.png'])
def test_disparity_files_of_any_size_name_and_form(evaluate, raw, tmp_path, size, alias, suffix):
    path = tmp_path / 'maps' / f'{alias}{suffix}'
    path.parent.mkdir(parents=True)
    disparity = 1.25 * SHIFT * size[1] / WIDTH  # too near by a fifth
    if suffix == '.npy':
        np.save(path, np.full((1, *size), disparity))
    elif suffix == '.npz':
        np.savez_compressed(path, np.full(size, disparity))
    else:
        cv2.imwrite(str(path), np.full(size, disparity * 256, np.uint16))
    assert row(evaluate('--disparities', tmp_path / 'maps', '--raw', raw))['abs_rel'] == pytest.approx(0.2, abs=1e-4)


@pytest.mark.parametrize('size', [(HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)])
def test_depth_files_need_no_baseline(evaluate, raw, tmp_path, size):
    write_depth_png(tmp_path / f'{NAME}_depth.png', np.full(size, 1.5 * DEPTH))
    ended = evaluate('--depths', tmp_path, '--raw', raw)
    assert row(ended)['abs_rel'] == pytest.approx(0.5, abs=1e-3)
    assert 'baseline      not used' in ended.out
    scaled = evaluate('--depths', tmp_path, '--raw', raw, '--median-scaling')
    assert row(scaled)['abs_rel'] == pytest.approx(0, abs=1e-3)
    assert "scaled to the ground truth's median" in scaled.out


@pytest.mark.parametrize(('unit', 'told'), [(1, False), (1000, True), (256, True)])
def test_depths_that_are_no_metres_are_told(evaluate, raw, tmp_path, unit, told):
    np.save(tmp_path / f'{NAME}.npy', np.full((HEIGHT, WIDTH), DEPTH * unit))
    ended = evaluate('--depths', tmp_path, '--raw', raw)
    assert ended.status == 0, ended.err
    assert ('hardly metres: divide mm by 1000' in ended.out) == told


@pytest.mark.parametrize('factor', [1, 1000 / 256, 0.5])
@pytest.mark.parametrize('scaled', [(), ('--median-scaling',)])
def test_the_scale_of_predictions_is_told(evaluate, raw, tmp_path, factor, scaled):
    """Of 16-bit mm that are read as m x 256, for example, which no range gives away."""
    np.save(tmp_path / f'{NAME}.npy', np.full((HEIGHT, WIDTH), DEPTH * factor))
    ended = evaluate('--depths', tmp_path, '--raw', raw, *scaled)
    told = re.search(r'; predictions are ([\d.]+) times the ground truth in the median', ended.out)
    assert float(told[1]) == pytest.approx(factor, abs=5e-3 * factor)


@pytest.mark.parametrize('kind', ['x 256', 'depth'])
def test_disparities_that_cannot_be_are_refused(evaluate, raw, predicted, kind):
    values = np.full((HEIGHT, WIDTH), SHIFT * 256, np.uint16) if kind == 'x 256' else np.full((HEIGHT, WIDTH), 9000.0)
    np.save(predicted / f'{NAME}.npy', values)
    ended = evaluate('--disparities', predicted, '--raw', raw)
    assert ended.status == 1
    assert f'are larger than its width of {WIDTH} px' in ended.err


def test_a_map_on_its_side_is_refused(evaluate, raw, predicted):
    np.save(predicted / f'{NAME}.npy', np.full((WIDTH, HEIGHT), SHIFT, np.float32))
    ended = evaluate('--disparities', predicted, '--raw', raw)
    assert f'a map of {HEIGHT} x {WIDTH} for an image of {WIDTH} x {HEIGHT} lies on its side' in ended.err


def test_no_prediction_at_all_is_said(evaluate, raw, predicted):
    np.save(predicted / f'{NAME}.npy', np.full((HEIGHT, WIDTH), -SHIFT, np.float32))
    ended = evaluate('--disparities', predicted, '--raw', raw, '--filled-only')
    assert 'the others have no pixel with a prediction and ground truth' in ended.err
    assert 'predictions are inf times' in evaluate('--disparities', predicted, '--raw', raw).out


@pytest.mark.parametrize('size', [(HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)])
def test_holes_count_as_far_unless_left_out(evaluate, raw, tmp_path, size):
    disparity = np.full(size, SHIFT * size[1] / WIDTH, np.float32)
    disparity[:, size[1] // 2 :] = 0
    np.save(tmp_path / f'{NAME}.npy', disparity)
    ended = evaluate('--disparities', tmp_path, '--raw', raw, '--filled-only')
    assert row(ended)['abs_rel'] == 0
    coverage = float(re.search(r'predicted are ([\d.]+)%', ended.out)[1]) / 100
    assert 0.4 < coverage < 0.6
    whole = row(evaluate('--disparities', tmp_path, '--raw', raw))
    assert whole['abs_rel'] == pytest.approx((1 - coverage) * (80 - DEPTH) / DEPTH, rel=5e-3)


def test_written_pictures_and_lines_hold_the_same_figures(evaluate, raw, tmp_path, predicted):
    np.save(predicted / f'{NAME}.npy', np.linspace(5, 20, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH))
    outputs = ('--csv', tmp_path / 'scores.csv', '--png', tmp_path / 'png')
    figures = row(evaluate('--disparities', predicted, '--raw', raw, '--cap', 50, 80, *outputs))
    with (tmp_path / 'scores.csv').open() as file:
        lines = list(csv.DictReader(file))
    assert [(line['image'], line['cap']) for line in lines] == [(NAME, '50'), (NAME, '80')]
    assert {name: float(lines[1][name]) for name in METRIC_NAMES} == pytest.approx(figures, abs=5e-3)
    stored = read_depth_png(tmp_path / f'png/{NAME}.png')
    expected = FOCAL * BASELINE / np.load(predicted / f'{NAME}.npy')
    np.testing.assert_allclose(stored, expected, atol=1 / 256)
    again = row(evaluate('--depths', tmp_path / 'png', '--raw', raw))
    assert again == pytest.approx(figures, rel=2e-3, abs=2e-2)


def test_nothing_is_replaced_unasked(evaluate, raw, tmp_path, predicted):
    (tmp_path / 'scores.csv').write_text('mine')
    command = ('--disparities', predicted, '--raw', raw, '--csv', tmp_path / 'scores.csv')
    ended = evaluate(*command)
    assert ended.status == 1
    assert re.fullmatch(r'error: .*scores.csv exists; .*--overwrite.*\n', ended.err)
    assert (tmp_path / 'scores.csv').read_text() == 'mine'
    assert evaluate(*command, '--skip-existing').status == 0
    assert (tmp_path / 'scores.csv').read_text() == 'mine'
    assert evaluate(*command, '--overwrite').status == 0
    assert (tmp_path / 'scores.csv').read_text().startswith('image,cap')


def test_what_is_missing_or_broken_is_named_and_the_rest_is_scored(evaluate, raw, predicted):
    for number, frame in (('0002', SECOND), ('0003', Frame('2011_09_26', '0003', 1))):
        write_frame(raw, frame)
        if number == '0002':
            write_scan(raw, np.ones((3, 4)), frame)
    ended = evaluate('--disparities', predicted, '--raw', raw)
    assert ended.status == 1
    assert ended.err.count('\n') == 1
    assert 'has no disparity for 2011_09_26_drive_0002_sync_0000000007' in ended.err
    assert 'images        1, the mean over images; skipped: 1 without ground truth; failed: 1' in ended.out


def test_a_bare_index_is_nobodys_where_there_are_two_drives(evaluate, raw, tmp_path):
    write_frame(raw, SECOND)
    write_scan(raw, np.fromfile(RawFolder(raw).velodyne(FRAME), dtype=np.float32).reshape(-1, 4), SECOND)
    np.save(tmp_path / f'{FRAME.file}.npy', np.full((HEIGHT, WIDTH), SHIFT, np.float32))
    ended = evaluate('--disparities', tmp_path, '--raw', raw)
    assert ended.status == 1
    assert 'none of the 2 images could be scored' in ended.err


def test_a_list_chooses_frames(evaluate, raw, tmp_path, predicted):
    write_frame(raw, SECOND)
    (tmp_path / 'split.txt').write_text(
        f'{FRAME.date}/{FRAME.folder} 7 l\n{FRAME.date}/{SECOND.folder} 0000000007 l\n{FRAME.date}/{FRAME.folder} 8 l\n'
    )
    ended = evaluate('--disparities', predicted, '--raw', raw, '--split', tmp_path / 'split.txt')
    assert row(ended)['delta1'] == 1
    assert 'images        1, the mean over images; skipped: 1 without an image, 1 without ground truth' in ended.out


def test_a_network_is_scored_on_rendered_streets(evaluate, tmp_path):
    tiny = tiny_depth(tmp_path)
    ended = evaluate(tiny.checkpoint, '--config', tiny.config, '--streets', 2, '--street-size', 64, 192)
    predictor = Predictor(tiny.checkpoint, config=tiny.config)
    expected = []
    for item in (StreetPairs('test', 2, (64, 192))[index] for index in range(2)):
        disparity = predictor(np.ascontiguousarray(item['left'].permute(1, 2, 0).numpy()))
        truth = item['depth'].numpy()
        scored = (truth > 1e-3) & (truth < 80)
        depth = np.where(disparity > 0, item['focal'] * item['baseline'] / np.maximum(disparity, 1e-9), 80)
        expected.append(np.mean(np.abs(np.clip(depth, 1e-3, 80) - truth)[scored] / truth[scored]))
    assert row(ended)['abs_rel'] == pytest.approx(np.mean(expected), abs=1e-4)
    for text in ('tiny.pth at 32 x 96', 'exact depth of rendered streets', 'crop          none', '(the renderer)'):
        assert text in ended.out


def test_a_network_is_scored_with_the_baseline_of_its_training(evaluate, raw, tmp_path):
    """Streets of 0.54 m, on recordings of 0.5327 m: depth, and with it abs_rel, goes with the former."""
    tiny = tiny_depth(tmp_path)
    network = (tiny.checkpoint, '--config', tiny.config, '--raw', raw, '--csv', tmp_path / 'scores.csv', '--overwrite')
    found = {}
    for flags in ((), ('--baseline', 0.54), ('--baseline', BASELINE)):
        ended = evaluate(*network, *flags)
        assert ended.status == 0, ended.err
        with (tmp_path / 'scores.csv').open() as file:
            found[flags] = float(next(csv.DictReader(file))['abs_rel'])
    assert found[()] == found['--baseline', 0.54] != found['--baseline', BASELINE]


def test_exact_disparities_of_streets_have_no_error(evaluate, tmp_path):
    streets = StreetPairs('test', 2)
    for index in range(2):
        np.save(tmp_path / f'street_{index:06d}.npy', streets.scene(index).disparity_left)
    figures = row(evaluate('--disparities', tmp_path, '--streets', 2))
    assert figures['abs_rel'] == 0
    assert figures['delta1'] == 1


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (np.full((4, 4), np.nan), r'no numbers \(nan\)'),
        (np.ones((2, 4, 4)), r'of shape \(2, 4, 4\), not one number per pixel'),
        (None, r'no whole \.npy file'),
    ],
)
def test_foreign_predictions(evaluate, raw, predicted, content, sentence):
    if content is None:
        (predicted / f'{NAME}.npy').write_bytes(b'\x93NUMPY')
    else:
        np.save(predicted / f'{NAME}.npy', content)
    ended = evaluate('--disparities', predicted, '--raw', raw)
    assert ended.status == 1
    assert re.search(sentence, ended.err)
    assert 'Traceback' not in ended.err


def slope(size):
    """Disparity in px that differs in every row and column, so that a misplaced map is seen."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (6 + rows * 0.05 + columns * 0.02).astype(np.float32)


@pytest.mark.parametrize(('place', 'top'), [('bottom', 8), ('centre', 4)])
@pytest.mark.parametrize('kind', ['disparity', 'depth'])
def test_a_crop_is_scored_in_its_place(evaluate, raw, tmp_path, place, top, kind):
    whole = slope((HEIGHT, WIDTH)) if kind == 'disparity' else FOCAL * BASELINE / slope((HEIGHT, WIDTH))
    cut = np.zeros_like(whole)
    cut[top : top + 88, 10:310] = whole[top : top + 88, 10:310]
    np.save(tmp_path / f'{NAME}.npy', cut)
    flag = '--disparities' if kind == 'disparity' else '--depths'
    expected = row(evaluate(flag, tmp_path, '--raw', raw, '--filled-only'))
    assert expected['abs_rel'] > 0.01
    np.save(tmp_path / f'{NAME}.npy', whole[top : top + 88, 10:310])
    refused = evaluate(flag, tmp_path, '--raw', raw, '--filled-only')
    assert 'is a crop or the whole image out of proportion: say which with --cropped' in refused.err
    ended = evaluate(flag, tmp_path, '--raw', raw, '--filled-only', '--cropped', place)
    assert row(ended) == expected
    assert f'maps of 300 x 88 placed at the {place} of the image' in ended.out


def test_block_matching_on_scenes_at_half_size_has_the_reference_figures(evaluate, shared_data):
    raw = shared_data / 'kitti_mini/eval'
    figures = row(evaluate('--disparities', 'sgbm', '--filled-only', '--raw', raw, '--truth', 'annotated'))
    assert figures['abs_rel'] == pytest.approx(0.126, abs=5e-4)
    assert figures['rmse'] == pytest.approx(7.0, abs=0.02)
    assert figures['delta1'] == pytest.approx(0.940, abs=5e-4)


def test_the_mean_of_one_pair_is_what_block_matching_sees_in_it(evaluate, raw):
    ended = evaluate('--mean-of', raw, '--raw', raw)
    assert row(ended)['delta1'] > 0.95
    assert f'mean disparity of 1 pairs of {raw}' in ended.out


def test_the_benchmarks_crop_is_known(evaluate, shared_data, tmp_path):
    """Block matching of real frames, cut to 352 x 1216 as the benchmark cuts, keeps its errors."""
    raw = shared_data / 'kitti/raw'
    folder = '2011_09_26_drive_0048_sync'
    for index in range(3):
        images = [
            cv2.imread(str(raw / f'2011_09_26/{folder}/image_0{side}/data/{index:010d}.png'))[:, :, ::-1].copy()
            for side in (2, 3)
        ]
        disparity = sgbm_disparity(*images)
        height, width = disparity.shape
        left = (width - 1216) // 2
        np.save(tmp_path / f'{folder}_{index:010d}_disp.npy', disparity[height - 352 :, left : left + 1216])
    ended = evaluate('--disparities', tmp_path, '--raw', raw, '--filled-only')
    # Garg's crop lies within the benchmark's but for some columns at the sides.
    assert row(ended)['abs_rel'] == pytest.approx(0.0914, abs=2e-3)
    assert 'maps of 1216 x 352 placed at the bottom of the image' in ended.out


def test_shares_of_the_width_are_found_by_their_range_and_said(evaluate, raw, predicted):
    np.save(predicted / f'{NAME}.npy', np.full((HEIGHT // 2, WIDTH // 2), SHIFT / WIDTH, np.float32))
    ended = evaluate('--disparities', predicted, '--raw', raw)
    assert row(ended)['abs_rel'] == pytest.approx(0, abs=1e-6)
    assert 'read as shares of the width' in ended.out
    assert (
        row(evaluate('--disparities', predicted, '--raw', raw, '--unit', 'width'))['abs_rel'] == row(ended)['abs_rel']
    )
    assert row(evaluate('--disparities', predicted, '--raw', raw, '--unit', 'px'))['abs_rel'] > 1


def test_units_that_differ_between_images_are_asked_for(evaluate, raw, tmp_path, predicted):
    write_frame(raw, SECOND)
    write_scan(raw, np.fromfile(RawFolder(raw).velodyne(FRAME), dtype=np.float32).reshape(-1, 4), SECOND)
    np.save(predicted / f'{SECOND.folder}_{SECOND.file}.npy', np.full((HEIGHT, WIDTH), 0.5, np.float32))
    ended = evaluate('--disparities', predicted, '--raw', raw)
    assert ended.status == 1
    assert 'disparities of up to 0.5, which look like width, unlike those of other images' in ended.err


@pytest.mark.parametrize('suffix', ['.npy', '.npz'])
@pytest.mark.parametrize('of', ['all', 'with truth'])
def test_one_array_holds_the_maps_of_all_frames_in_their_order(evaluate, raw, tmp_path, suffix, of):
    write_frame(raw, SECOND)
    write_frame(raw, THIRD)
    write_scan(raw, np.fromfile(RawFolder(raw).velodyne(FRAME), dtype=np.float32).reshape(-1, 4), THIRD)
    split = tmp_path / 'split.txt'
    frames = (THIRD, SECOND, FRAME)  # the one in the middle has no laser scan
    split.write_text(''.join(f'{frame.date}/{frame.folder} {frame.index} l\n' for frame in frames))
    factors = (1, 9, 2) if of == 'all' else (1, 2)
    stack = np.stack([np.full((HEIGHT, WIDTH), SHIFT * factor, np.float32) for factor in factors])
    path = tmp_path / f'maps{suffix}'
    np.save(path, stack) if suffix == '.npy' else np.savez(path, stack)
    scores = tmp_path / 'scores.csv'
    ended = evaluate('--disparities', path, '--raw', raw, '--split', split, '--csv', scores)
    assert ended.status == 0, ended.err
    with scores.open() as file:
        found = {line['image']: float(line['abs_rel']) for line in csv.DictReader(file)}
    assert found == {
        f'{THIRD.folder}_{THIRD.file}': pytest.approx(0, abs=1e-6),
        NAME: pytest.approx(0.5, abs=1e-6),
    }


def test_an_array_of_another_number_of_maps_is_refused(evaluate, raw, tmp_path):
    np.save(tmp_path / 'maps.npy', np.ones((3, HEIGHT, WIDTH), np.float32))
    ended = evaluate('--disparities', tmp_path / 'maps.npy', '--raw', raw)
    assert ended.status == 1
    assert 'holds 3 maps, but the split lists 1 frames, 1 of them with ground truth' in ended.err
    np.savez(tmp_path / 'maps.npz', left=np.ones(3), right=np.ones(3))
    assert 'holds the arrays left, right' in evaluate('--disparities', tmp_path / 'maps.npz', '--raw', raw).err


def test_an_8_bit_picture_is_no_prediction(evaluate, raw, tmp_path):
    cv2.imwrite(str(tmp_path / f'{NAME}.png'), np.ones((4, 4), np.uint8))
    assert 'not a 16-bit picture' in evaluate('--disparities', tmp_path, '--raw', raw).err


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('--streets', 1), 'give one of a checkpoint, --disparities DIR or sgbm, --depths DIR, and --mean-of ROOT'),
        (('--disparities', 'sgbm'), 'give either --raw ROOT'),
        (('--disparities', 'sgbm', '--streets', 1, '--flip'), '--flip belongs to a checkpoint'),
        (('--disparities', 'sgbm', '--streets', 1, '--truth', 'velodyne'), 'belong to --raw'),
        (('--disparities', 'nowhere', '--streets', 1), 'there is no folder nowhere'),
        (('--disparities', 'sgbm', '--raw', 'nowhere'), 'there is no folder nowhere'),
        (('--disparities', 'sgbm', '--streets', 1, '--unit', 'px'), '--unit and --cropped belong to files'),
        (('--depths', 'nowhere', '--streets', 1, '--unit', 'px'), 'depths are in m'),
    ],
)
def test_mistakes_are_told_in_one_sentence(evaluate, arguments, sentence):
    ended = evaluate(*arguments)
    assert ended.status == 1
    assert ended.err.startswith('error: ')
    assert ended.err.count('\n') == 1
    assert sentence in ended.err


def test_no_frame_with_annotated_depth(evaluate, raw, predicted):
    ended = evaluate('--disparities', predicted, '--raw', raw, '--truth', 'annotated')
    assert 'none of the 1 frames' in ended.err
    assert 'proj_depth/groundtruth/image_02' in ended.err
