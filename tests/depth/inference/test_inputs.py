"""What inputs stand for, what they are called, and how images of every kind are read."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bireal_plugin.depth.inference.inputs import find_inputs, read_image, unique_names
from bireal_plugin.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Two images, a video, a text and a hidden file; and an image in a folder within."""
    for name in ('b.png', 'a.JPG', '._a.png', 'inner/a.png', 'c.mp4', 'notes.md'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'')
    return tmp_path


def found(*given):
    inputs, problems = find_inputs([str(item) for item in given])
    return [item.path for item in inputs], problems


def test_a_folder_is_its_images_and_videos_in_order(folder):
    assert found(folder) == ([folder / 'a.JPG', folder / 'b.png', folder / 'c.mp4'], [])


def test_a_glob_can_go_into_folders(folder):
    assert found(f'{folder}/**/a.*') == ([folder / 'a.JPG', folder / 'inner/a.png'], [])


def test_a_file_counts_once_however_often_it_is_given(folder):
    assert found(folder / 'b.png', folder, f'{folder}/b*')[0].count(folder / 'b.png') == 1


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    path = tmp_path / 'a[1].png'
    path.write_bytes(b'')
    assert found(path) == ([path], [])


def test_a_list_has_comments_and_columns_and_is_relative_to_itself(folder, monkeypatch):
    monkeypatch.chdir(folder / 'inner')
    (folder / 'list.txt').write_text('# pairs\nb.png right/b.png\n\na.png\r\n')
    paths, problems = found(folder / 'list.txt')
    assert [path.absolute() for path in paths] == [folder / 'b.png', folder / 'inner/a.png']
    assert problems == []


def test_a_line_that_is_no_file_is_named_and_the_others_count(folder):
    (folder / 'list.txt').write_text('b.png\ngone.png\n')
    paths, (problem,) = found(folder / 'list.txt')
    assert paths == [folder / 'b.png']
    assert 'line 2: gone.png is no file' in problem


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('gone.png', 'does not exist'),
        ('gone*.png', 'no file matches'),
        ('notes.md', "unknown suffix '.md'"),
        ('empty', 'there is no image or video in the folder'),
        ('empty.txt', 'is empty'),
        ('binary.txt', 'is no text'),
    ],
)
def test_what_stands_for_nothing_is_said_and_the_rest_is_found(folder, name, sentence):
    (folder / 'empty').mkdir()
    (folder / 'empty.txt').write_text('\n')
    (folder / 'binary.txt').write_bytes(b'\xff\xfe\x00')
    paths, (problem,) = found(folder / name, folder / 'b.png')
    assert paths == [folder / 'b.png']
    assert sentence in problem
    assert name in problem


@pytest.mark.parametrize(
    ('paths', 'names'),
    [
        (['x/a.png', 'x/b.png'], ['a', 'b']),
        (['x/image_02/0.png', 'x/image_03/0.png'], ['image_02-0', 'image_03-0']),
        (['x/a.png', 'x/a.jpg', 'x/b.jpg'], ['a-png', 'a-jpg', 'b']),
        (['x/y/b.png', 'x/z/b.png', 'x/y-b.jpg'], ['y-b-png', 'z-b', 'y-b']),
        (['x/a.png', 'v/w/y/b.png', 'v/w/z/b.png'], ['a', 'y-b', 'z-b']),
    ],
)
def test_names_are_as_short_as_they_can_be(paths, names):
    assert unique_names([Path(path) for path in paths]) == names


part = st.sampled_from(['a', 'b', 'c'])


@given(st.sets(st.tuples(part, part, part, st.sampled_from(['.png', '.jpg'])), max_size=12))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_different_files_never_share_a_name(files):
    paths = [Path(one, two, stem + suffix) for one, two, stem, suffix in sorted(files)]
    assert len(set(unique_names(paths))) == len(paths)


def test_names_that_folders_and_dashes_make_equal_are_refused():
    paths = [Path('x', name) for name in ('a/b.png', 'a-b.png', 'c/b.png', 'c/a-b.png')]
    with pytest.raises(InputError, match='would both be called a-b-png'):
        unique_names(paths)


RGB = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)


def test_rgb_is_read_as_it_is(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), RGB)


def test_grey_becomes_three_equal_channels(tmp_path):
    Image.fromarray(RGB[:, :, 0]).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), RGB[:, :, [0, 0, 0]])


def test_transparency_is_dropped(tmp_path):
    Image.fromarray(np.dstack([RGB, RGB[:, :, 0]])).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), RGB)


def test_a_palette_is_looked_up(tmp_path):
    few = RGB // 128 * 255
    Image.fromarray(few).quantize(8).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), few)


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_16_bit_grey_is_scaled_to_8(tmp_path, suffix):
    values = np.array([[0, 257, 65535, 32768]], np.uint16)
    cv2.imwrite(str(tmp_path / f'a{suffix}'), values)
    assert read_image(tmp_path / f'a{suffix}')[0, :, 0].tolist() == [0, 1, 255, 128]


def test_16_bit_colour_is_scaled_to_8(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), RGB[:, :, ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), RGB)


def test_a_photo_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned to the left: the top of the scene is the image's right side
    Image.fromarray(RGB).save(tmp_path / 'a.png', exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), np.rot90(RGB, -1))


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('share', [0.0, 0.3, 0.9])
def test_a_truncated_image_is_named(tmp_path, suffix, share):
    path = tmp_path / f'a{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=f'{path} cannot be decoded'):
        read_image(path)


def test_real_numbers_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / 'a.tif')
    with pytest.raises(InputError, match='real numbers'):
        read_image(tmp_path / 'a.tif')
