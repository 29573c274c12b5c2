"""Files that inputs stand for, and the names of their outputs."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bireal_plugin.depth.inference.inputs import find_inputs, unique_names
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


def test_other_files_of_a_folder_are_counted_and_named(tmp_path, capsys):
    for name in ('a.png', 'b.AVIF', 'c.webm', 'd.m4v', 'notes.md', 'e.raw', '.hidden', 'f.heic'):
        (tmp_path / name).write_bytes(b'')
    inputs, problems = find_inputs([str(tmp_path)])
    assert [item.path.name for item in inputs] == ['a.png', 'b.AVIF', 'c.webm', 'd.m4v', 'f.heic']
    assert problems == []
    told = capsys.readouterr().err
    assert f'{tmp_path}: 2 of 7 files are no image or video and left out: e.raw, notes.md' in told


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
