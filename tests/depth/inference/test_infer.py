"""The command that makes depth maps, on real and rendered images with a tiny network."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from bireal_plugin.data.image_file import MAX_PIXELS
from bireal_plugin.depth.camera import Camera, TrainedOn
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.depth.inference.video import VideoReader, VideoWriter
from bireal_plugin.depth.maps import read_depth_png
from bireal_plugin.depth.street.scene import render_street, write_recording
from tests.conftest import REPOSITORY
from tests.depth.tiny_depth import file_of, tiny_depth

FORMS = 'png16,npy,colour,side,ply,confidence'
OWN_CAMERA = ('--focal', 150)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return tiny_depth(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module')
def network(tiny):
    """Flags that name the network."""
    return '--checkpoint', tiny.checkpoint, '--config', tiny.config


@pytest.fixture
def infer(run_tool, network, tmp_path):
    """Runs the command; files go to ``tmp_path / 'out'``."""
    return lambda *arguments: run_tool('../depth/infer.py', *arguments, *network, '--out', tmp_path / 'out')


@pytest.fixture
def photo(tmp_path):
    """A photo that no calibration belongs to."""
    Image.fromarray(render_street(1, (90, 250)).left).save(tmp_path / 'photo.png')
    return tmp_path / 'photo.png'


@pytest.fixture
def film(tmp_path):
    with VideoWriter(tmp_path / 'film.mp4', 10) as writer:
        for seed in range(3):
            writer.write(render_street(seed, (64, 192)).left)
    return tmp_path / 'film.mp4'


def written(tmp_path):
    return {path.name for path in (tmp_path / 'out').iterdir()}


def test_kitti_gives_metres_in_every_form(infer, tiny, shared_data, tmp_path):
    raw = shared_data / 'kitti/raw/2011_09_26/2011_09_26_drive_0048_sync/image_02/data'
    ended = infer(raw / '0000000000.png', '--save', FORMS, '--flip', '--at', '600,200', '--box', '500,180,560,240')
    assert ended.status == 0, ended.err
    assert ended.out.count('metric depth: calibration') == 1
    # The network was trained on streets of 0.54 m; the 0.5327 m of KITTI's rig are nothing to it.
    assert 'focal length 721.5 px at width 1242, baseline 0.5400 m of the pairs in training' in ended.out
    depth = np.load(tmp_path / 'out/0000000000_depth.npy')
    image = cv2.imread(str(raw / '0000000000.png'))[:, :, ::-1]
    predictor = Predictor(tiny.checkpoint, config=tiny.config)
    disparity = (predictor(image) + predictor(image[:, ::-1].copy())[:, ::-1]) / 2
    np.testing.assert_allclose(depth, np.where(disparity > 0, 721.5377 * 0.54 / disparity, np.inf), rtol=1e-4)
    stored = read_depth_png(tmp_path / 'out/0000000000_depth.png')
    np.testing.assert_allclose(stored, np.where(depth < 255.998, depth, 0), atol=1 / 512)
    assert f'0000000000 at 600,200: {depth[200, 600]:.2f} m' in ended.out
    assert f'0000000000 in 500,180,560,240: {np.median(depth[180:240, 500:560]):.2f} m (median)' in ended.out
    colour = cv2.imread(str(tmp_path / 'out/0000000000_colour.png'))
    side = cv2.imread(str(tmp_path / 'out/0000000000_side.png'))
    np.testing.assert_array_equal(side[:, :1242, ::-1], image)
    np.testing.assert_array_equal(side[:, 1242:], colour)
    assert cv2.imread(str(tmp_path / 'out/0000000000_confidence.png')).shape == image.shape
    assert (tmp_path / 'out/0000000000.ply').read_bytes().startswith(b'ply')
    assert re.search(r'1 image\(s\) in .* images/s', ended.out)


def test_all_pairs_of_the_sample_in_one_call(infer, shared_data, tmp_path):
    ended = infer(f'{shared_data}/kitti/raw/**/image_02/data/*', '--save', 'npy')
    assert ended.status == 0, ended.err
    assert len(written(tmp_path)) == 9
    assert ended.out.count('metric depth: ') == 2  # once for each date


def test_own_camera(infer, photo, tmp_path):
    ended = infer(photo, *OWN_CAMERA, '--save', 'npy')
    assert 'metric depth: --focal (focal length 150.0 px at width 250' in ended.out
    relative = infer(photo, '--relative', '--save', 'npy')
    assert relative.status == 0
    metres, ratio = (np.load(tmp_path / 'out' / f'photo_{kind}.npy') for kind in ('depth', 'relative'))
    np.testing.assert_allclose(metres, ratio * 150 * 0.54 / 250, rtol=1e-5)


RIG = TrainedOn((240, 800), (Camera(464.0, 800, 0.54, height=240),))


def ideal(scene, image):
    """Network that predicts the renderer's disparity of ``image``, as the rig of its training would have had it."""

    def prepared(given):
        np.testing.assert_array_equal(given, image)
        return given

    return SimpleNamespace(prepared=prepared, run=lambda _: scene, trained_on=RIG, size=RIG.size, source='ideal.pth')


@pytest.mark.parametrize(
    ('shape', 'focal', 'cut', 'flags'),
    [
        ((240, 800), 464.0, None, ()),  # the rig of training
        ((120, 400), 232.0, None, ()),  # half the size
        ((240, 800), 464.0, (40, 50, 200, 700), ('--cropped', 'bottom')),
        ((375, 1242), 721.5, (23, 13, 352, 1216), ()),  # the crop of KITTI's benchmark, known by its size
        ((360, 640), 900.0, None, ()),  # another focal length
        ((240, 800), 464.0, (40, 50, 200, 700), ()),  # a crop that nobody told of
        ((240, 800), 464.0, 'lens', ()),  # an unrectified frame
    ],
)
def test_one_scene_by_five_cameras_is_as_far_or_its_metres_are_refused(
    run_tool, monkeypatch, tmp_path, shape, focal, cut, flags
):
    scene = render_street(3, shape, focal=focal, baseline=0.54)
    image, disparity, truth = scene.left, scene.disparity_left, scene.depth_left
    recorded = replace(scene, camera=replace(scene.camera, baseline=0.12))  # the rig that took it is another
    folder = write_recording(tmp_path / 'raw', [recorded]) / 'image_02/data'
    if cut == 'lens':
        maps = [cv2.copyMakeBorder(array, 20, 20, 30, 31, cv2.BORDER_REPLICATE) for array in (image, disparity, truth)]
        image, disparity, truth = maps
    elif cut is not None:
        top, left, height, width = cut
        part = (slice(top, top + height), slice(left, left + width))
        image, disparity, truth = image[part], disparity[part], truth[part]
    Image.fromarray(image).save(folder / '0000000000.png')
    monkeypatch.setattr('bireal_plugin.commands.depth.infer.predictor_of', lambda *_: ideal(disparity, image))
    row, column = (round(share * side) for share, side in zip((0.7, 0.5), truth.shape, strict=True))
    ended = run_tool(
        *('../depth/infer.py', folder, '--checkpoint', 'ideal.pth', '--out', tmp_path / 'out', *flags),
        *('--at', f'{column},{row}'),
    )
    assert ended.status == 0, ended.err
    printed = re.search(r'at \d+,\d+: ([\d.]+) (m|rel)', ended.out)
    if cut is None or flags or image.shape[:2] == (352, 1216):
        assert printed[2] == 'm'
        assert float(printed[1]) == pytest.approx(truth[row, column], rel=0.02)
    else:
        assert printed[2] == 'rel'
        assert 'relative depth: the image is' in ended.out
        assert 'its focal length is not known' in ended.out


def test_without_a_camera_depth_is_relative_and_says_so(infer, photo, tmp_path):
    ended = infer(photo, '--save', 'png16,colour', '--at', '9,9')
    assert ended.status == 0, ended.err
    assert 'relative depth: the camera is unknown' in ended.out
    assert re.search(r'photo at 9,9: [\d.]+ rel\.', ended.out)
    assert written(tmp_path) == {'photo_relative.png', 'photo_colour.png'}


def test_a_point_cloud_without_camera_is_a_sentence(infer, photo, tmp_path):
    ended = infer(photo, '--save', 'ply,npy')
    assert ended.status == 1
    assert 'photo.png, ply: a point cloud needs the camera' in ended.err
    assert written(tmp_path) == {'photo_relative.npy'}  # a form that fails does not keep the others from being written


def test_nothing_is_replaced_without_asking(infer, photo, tmp_path):
    other = shutil.copy(photo, tmp_path / 'other.png')
    assert infer(photo).status == 0
    (tmp_path / 'out/photo_colour.png').write_bytes(b'mine')
    ended = infer(photo, other)
    assert ended.status == 1
    assert ended.err.count('error: ') == 1
    assert 'photo_colour.png exists' in ended.err
    assert (tmp_path / 'out/photo_colour.png').read_bytes() == b'mine'
    assert (tmp_path / 'out/other_colour.png').exists()
    assert infer(photo, '--save', 'colour', 'npy', '--skip-existing').status == 0
    assert (tmp_path / 'out/photo_colour.png').read_bytes() == b'mine'
    assert (tmp_path / 'out/photo_relative.npy').exists()
    assert infer(photo, '--overwrite').status == 0
    assert cv2.imread(str(tmp_path / 'out/photo_colour.png')) is not None


def test_bad_inputs_cost_themselves_alone(infer, photo, shared_data, tmp_path):
    raw = tmp_path / 'raw/2011_09_26/2011_09_26_drive_0048_sync/image_02/data'
    raw.mkdir(parents=True)
    shutil.copy(photo, raw / 'lost.png')
    rgb = np.asarray(Image.open(photo))
    Image.fromarray(rgb[:, :, 0]).save(tmp_path / 'grey.png')
    Image.fromarray(np.dstack([rgb, rgb[:, :, :1]])).save(tmp_path / 'rgba.png')
    cv2.imwrite(str(tmp_path / 'deep.png'), rgb[:, :, ::-1].astype(np.uint16) * 257)
    (tmp_path / 'broken.png').write_bytes(photo.read_bytes()[:2000])
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'notes.md').write_text('')
    names = ['broken.png', 'broken.mp4', 'empty', 'notes.md', 'gone.png', 'grey.png', 'rgba.png', 'deep.png']
    ended = infer(*[tmp_path / name for name in names], raw / 'lost.png', photo)
    assert ended.status == 1
    lines = ended.err.splitlines()
    assert len(lines) == 6
    for name in ('broken.png', 'broken.mp4', 'empty', 'notes.md', 'gone.png', 'lost.png'):
        assert sum(name in line and line.startswith('error: ') for line in lines) == 1
    pictures = {f'{stem}_colour.png' for stem in ('grey', 'rgba', 'deep', 'photo')}
    assert written(tmp_path) == pictures
    assert '6 problem(s)' in ended.out
    same = [(tmp_path / 'out' / f'{stem}_colour.png').read_bytes() for stem in ('rgba', 'deep', 'photo')]
    assert same[0] == same[1] == same[2]


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (['--at', '250,5'], 'photo.png: --at 250,5 is outside the image of 250 x 90'),
        (['--at', '5,-1'], 'photo.png: --at 5,-1 is outside'),
        (['--box', '5,5,5,9'], 'photo.png: --box 5,5,5,9 is no box'),
        (['--box', '5,5,9,91'], 'photo.png: --box 5,5,9,91 is no box'),
        (['--calibration', 'gone.txt'], 'gone.txt is missing'),
        (['--save', 'gif'], '--save gif: there are png16'),
        (['--save', 'confidence'], 'add --flip'),
        (['--range', '9', '4'], '--range takes two depths'),
        (['--size', '8', '8'], 'at least 32 x 32'),
        (['--size', '320', '9000'], 'at most 8192 x 8192'),
        (['--real-layers', 'bf16'], 'are for OpenVINO models'),
    ],
)
def test_wrong_flags_are_one_sentence(infer, photo, flags, sentence, tmp_path):
    ended = infer(photo, *flags)
    assert ended.status == 1
    assert ended.err.count('\n') == 1
    assert sentence in ended.err
    assert not list(tmp_path.glob('out/*'))


def test_what_is_wrong_for_every_image_is_said_once_and_at_first(infer, photo, tiny, run_tool, tmp_path):
    other = shutil.copy(photo, tmp_path / 'other.png')
    stored = torch.load(tiny.checkpoint, weights_only=True)
    torch.save(dict(state_dict=stored['state_dict']), tmp_path / 'old.pth')
    flags = ('--checkpoint', tmp_path / 'old.pth', '--config', tiny.config, *OWN_CAMERA, '--out', tmp_path / 'out')
    ended = run_tool('../depth/infer.py', photo, other, *flags)
    assert ended.status == 1
    assert re.fullmatch(r'error: \S*old\.pth does not say the baseline .* give --baseline METRES .*\n', ended.err)
    assert infer(photo, other, '--calibration', tmp_path / 'gone.txt').err.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_an_out_that_is_a_file_is_a_sentence(infer, photo, tmp_path):
    (tmp_path / 'out').write_text('')
    ended = infer(photo)
    assert ended.status == 1
    assert re.fullmatch(r'error: --out \S*out cannot be made a folder: File exists\n', ended.err)


def test_a_fixed_range_gives_one_depth_one_colour(infer, photo, tmp_path):
    infer(photo, *OWN_CAMERA, '--save', 'npy,colour', '--range', 2, 9)
    depth = np.load(tmp_path / 'out/photo_depth.npy')
    picture = cv2.imread(str(tmp_path / 'out/photo_colour.png'))[:, :250]
    shade = np.clip((1 / depth - 1 / 9) / (1 / 2 - 1 / 9), 0, 1)
    expected = cv2.applyColorMap(np.round(shade * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)
    assert abs(picture.astype(int) - expected).max() <= 4  # one step of the map, where float32 and float64 round apart


def test_a_video_becomes_videos_of_one_range(infer, film, tmp_path):
    ended = infer(film, '--save', 'side,npy', *OWN_CAMERA, '--range', 3, 40)
    assert ended.status == 0, ended.err
    assert written(tmp_path) == {'film_side.mp4', *(f'film-{i:06d}_depth.npy' for i in range(3))}
    reader = VideoReader(tmp_path / 'out/film_side.mp4')
    frames, sources = list(reader), list(VideoReader(film))
    assert (reader.rate, len(frames)) == (10, 3)
    for frame, source in zip(frames, sources, strict=True):
        assert abs(frame[:64, :192].astype(int) - source).mean() < 12
    # The bar, with its labels, stays as it is.
    bars = [frame[:, 2 * 192 :].astype(int) for frame in frames]
    assert max(abs(bar - bars[0]).mean() for bar in bars) < 6
    assert '3 image(s)' in ended.out


def test_a_cut_video_with_frames_of_their_own_times_is_whole(infer, tmp_path):
    """Frames at uneven times, and a file that claims more frames than it has: both are as long as what they show."""
    times = [0.0, 0.1, 0.25, 0.3, 0.7]
    with VideoWriter(tmp_path / 'uneven.mp4', 10) as writer:
        for seed, time in enumerate(times):
            writer.write(render_street(seed, (64, 192)).left, time)
    ended = infer(tmp_path / 'uneven.mp4', '--save', 'colour')
    assert ended.status == 0, ended.err
    reader, found = VideoReader(tmp_path / 'out/uneven_colour.mp4'), []
    for _ in reader:
        found.append(reader.time)
    assert found == pytest.approx(times, abs=1e-3)


def test_a_video_cut_short_is_told_after_its_frames_are_written(infer, film, tmp_path):
    with VideoWriter(tmp_path / 'long.mp4', 10) as writer:
        for seed in range(60):
            writer.write(np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8))
    content = (tmp_path / 'long.mp4').read_bytes()
    (tmp_path / 'long.mp4').write_bytes(content[: len(content) // 2])
    ended = infer(tmp_path / 'long.mp4')
    assert ended.status == 1
    # A decoder of one thread, as on one core, meets the cut as an error, one of several as the end.
    ends = r'its last frame is [\d.]+ s before its end|it cannot be decoded any further'
    assert re.search(rf'long\.mp4 ended after \d+ frames, and ({ends})', ended.err)
    assert written(tmp_path) == {'long_colour.mp4'}


def test_skipping_what_exists_continues_a_batch_without_the_network(infer, run_tool, network, film, photo, tmp_path):
    assert infer(film, photo, '--save', 'npy').status == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').iterdir()}
    (tmp_path / 'out/film-000001_relative.npy').unlink()
    ended = infer(film, photo, '--save', 'npy', '--skip-existing')
    assert ended.status == 0, ended.err
    assert '1 image(s)' in ended.out  # the frame that was missing
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').iterdir()}
    assert after.keys() == before.keys()
    assert [path.name for path in after if after[path] != before[path]] == ['film-000001_relative.npy']


def test_the_help_tells_the_limit_that_holds(run_command):
    help = ' '.join(run_command('depth infer', '--help').out.split())
    assert re.search(r'--max-pixels N .*?default: (\d+) million', help)[1] == f'{MAX_PIXELS / 1e6:.0f}'


def test_pictures_can_be_jpeg(infer, photo, tmp_path):
    ended = infer(photo, '--save', 'colour', 'side', 'png16', '--jpeg')
    assert ended.status == 0, ended.err
    assert written(tmp_path) == {'photo_colour.jpg', 'photo_side.jpg', 'photo_relative.png'}
    infer(photo, '--save', 'colour')
    jpeg, png = (cv2.imread(str(tmp_path / f'out/photo_colour.{suffix}')).astype(int) for suffix in ('jpg', 'png'))
    assert abs(jpeg - png).mean() < 4


def test_images_are_written_in_their_order_and_each_its_own(infer, run_tool, network, tmp_path):
    (tmp_path / 'photos').mkdir()
    for seed in range(12):
        Image.fromarray(render_street(seed, (40, 100)).left).save(tmp_path / f'photos/{seed:02d}.png')
    ended = infer(tmp_path / 'photos', '--save', 'npy')
    assert re.findall(r'^\[(\d+)/12\]', ended.out, re.M) == [str(number) for number in range(1, 13)]
    for seed in (0, 5, 11):
        flags = (*network, '--save', 'npy', '--out', tmp_path / f'one{seed}')
        assert run_tool('../depth/infer.py', tmp_path / f'photos/{seed:02d}.png', *flags).status == 0
        alone = np.load(tmp_path / f'one{seed}/{seed:02d}_relative.npy')
        np.testing.assert_array_equal(np.load(tmp_path / f'out/{seed:02d}_relative.npy'), alone)


def test_an_exported_network_makes_the_same_map(infer, run_tool, tiny, photo, tmp_path):
    path = file_of(tiny, 'packed', tmp_path)
    flags = ('--checkpoint', path, '--threads', 1, '--save', 'npy')
    ended = run_tool('../depth/infer.py', photo, *flags, '--out', tmp_path / 'exported')
    assert ended.status == 0, ended.err
    infer(photo, '--save', 'npy')
    ours, theirs = (np.load(tmp_path / folder / 'photo_relative.npy') for folder in ('exported', 'out'))
    assert np.median(abs(ours / theirs - 1)) < 1e-4


def test_the_command_runs_as_a_script(network, photo, tmp_path):
    command = [sys.executable, REPOSITORY / 'depth/infer.py', photo, *map(str, network), '--out', tmp_path / 'out']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (ended.returncode, ended.stderr) == (0, '')
    assert written(tmp_path) == {'photo_colour.png'}
