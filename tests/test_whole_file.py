import os
import threading
import time
from pathlib import Path

import pytest

from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import ELSEWHERE, MARK, remove_left, whole, whole_set
from tests.warm import Python


def test_the_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / 'table.csv'
    target.write_text('old')
    with whole(target) as partial:
        partial.write_text('new')
        assert target.read_text() == 'old'
    assert target.read_text() == 'new'
    assert os.listdir(tmp_path) == ['table.csv']


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / 'table.csv'
    target.write_text('old')
    with pytest.raises(InputError, match=r'table\.csv cannot be written: disk full$'), whole(target) as partial:  # noqa: PT012  the file is written first
        partial.write_text('half')
        raise OSError('disk full')
    assert target.read_text() == 'old'
    assert os.listdir(tmp_path) == ['table.csv']


def test_the_name_is_hidden_beside_the_target_with_its_suffix(tmp_path):
    with whole(tmp_path / 'a.tflite') as partial:
        partial.touch()
        assert partial.parent == tmp_path
        assert partial.name.startswith('.')
        assert partial.suffix == '.tflite'


def test_a_name_of_any_length_leaves_room_for_the_mark(tmp_path):
    target = tmp_path / f'{"ä" * 125}.txt'  # 254 bytes, of at most 255
    with whole(target) as partial:
        partial.write_text('a')
    assert target.read_text() == 'a'


def test_writers_of_one_file_at_once_do_not_meet(tmp_path):
    target, texts = tmp_path / 'a.txt', [str(i) * 1000 for i in range(8)]
    start = threading.Barrier(len(texts))

    def write(text):
        with whole(target) as partial, partial.open('w') as file:
            start.wait()
            for character in text:
                file.write(character)

    threads = [threading.Thread(target=write, args=[text]) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() in texts
    assert os.listdir(tmp_path) == ['a.txt']


def test_permissions_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with whole(tmp_path / 'a.txt') as partial:
            partial.write_text('a')
    finally:
        os.umask(before)
    assert Path(tmp_path, 'a.txt').stat().st_mode & 0o777 == 0o640


def test_files_that_belong_together_share_a_stem_and_appear_together(tmp_path):
    targets = tmp_path / 'net.bin', tmp_path / 'net.xml'
    with whole_set(*targets) as partials:
        assert partials[0].with_suffix('.xml') == partials[1]
        for partial in partials:
            partial.write_text('x')
        assert not any(target.exists() for target in targets)
    assert sorted(os.listdir(tmp_path)) == ['net.bin', 'net.xml']


def test_of_a_failed_set_nothing_appears(tmp_path):
    with (
        pytest.raises(InputError, match=r'net\.bin cannot be written'),
        whole_set(tmp_path / 'net.xml', tmp_path / 'net.bin') as partials,
    ):
        partials[1].write_text('x')
    assert os.listdir(tmp_path) == []


def test_an_error_about_another_file_stays_its_own(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent'), whole(tmp_path / 'a.txt'):
        (tmp_path / 'absent').read_text()


def test_a_folder_that_is_removed_meanwhile_is_told(tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    sentence = r'a\.txt cannot be written: No such file'
    with pytest.raises(InputError, match=sentence), whole(folder / 'a.txt') as partial:  # noqa: PT012  meanwhile
        folder.rmdir()
        partial.write_text('a')


def in_the_middle(folder, name):
    """A process in the middle of ``whole``, and its file."""
    code = 'import sys, time\nfrom bireal_plugin.whole_file import whole\n'
    code += 'with whole(sys.argv[1]) as partial: partial.write_text("half"); time.sleep(60)'
    python = Python(['-c', code, folder / name])
    while not (left := [*folder.glob(f'.{Path(name).stem}.*')]):
        assert python.process.is_alive()
        time.sleep(0.01)
    return python, left[0]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    python, left = in_the_middle(tmp_path, 'photo.depth.png')
    other = tmp_path / '.hidden.png'
    other.write_text('of someone')
    with whole(tmp_path / 'net.xml') as ours:
        ours.write_text('<net>')
        remove_left(tmp_path)
        assert left.exists()  # its process is alive
        python.process.kill()
        python.process.join()
        remove_left(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ['.hidden.png', 'net.xml']


@pytest.mark.parametrize(('age', 'stays'), [(0, True), (ELSEWHERE + 60, False)])
def test_a_file_of_another_host_counts_by_its_age(tmp_path, age, stays):
    with whole(tmp_path / 'a.txt') as partial:
        partial.touch()
        host = MARK.fullmatch(partial.name)[1]
        elsewhere = tmp_path / partial.name.replace(host, '000000')
    elsewhere.write_text('half')
    os.utime(elsewhere, (time.time() - age,) * 2)
    remove_left(tmp_path)
    assert elsewhere.exists() == stays
