import os
import threading
from pathlib import Path

import pytest

from bireal_plugin.whole_file import whole, whole_set


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
    with pytest.raises(OSError, match='disk full'), whole(target) as partial:  # noqa: PT012  the file is written first
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
    with pytest.raises(FileNotFoundError), whole_set(tmp_path / 'net.xml', tmp_path / 'net.bin') as partials:
        partials[1].write_text('x')
    assert os.listdir(tmp_path) == []
