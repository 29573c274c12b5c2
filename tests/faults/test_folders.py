"""Folders that cannot be written to: one sentence with the folder's name, before long work begins."""

import pytest

from tests.conftest import REPOSITORY
from tests.depth.tiny_depth import tiny_depth

PHOTO = REPOSITORY / 'docs' / 'depth_photo.png'


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return tiny_depth(tmp_path_factory.mktemp('tiny'))


@pytest.mark.parametrize('place', ['file/folder', '/proc/folder', '/proc', '/sys/folder', '/sys'])
@pytest.mark.parametrize('name', ['train', 'depth export', 'depth infer', 'depth render'])
def test_a_folder_that_cannot_be_written_to(run_command, tiny, tiny_config, tmp_path, name, place):
    """Below a file and in the kernel's own folders, where nobody may write, whatever the rights."""
    (tmp_path / 'file').write_text('text')
    folder = tmp_path / place
    words = {
        'train': [tiny_config, '--work-dir', folder],
        'depth export': [tiny.config, tiny.checkpoint, '--format', 'packed', '--out', folder],
        'depth infer': [
            REPOSITORY / 'docs' / 'depth_photo.png',
            '--config',
            tiny.config,
            '--checkpoint',
            tiny.checkpoint,
            '--out',
            folder,
        ],
        'depth render': [folder, '--count', '1'],
    }
    ended = run_command(name, *words[name])
    assert ended.status == 1
    (sentence,) = [line for line in ended.err.splitlines() if line.startswith('error: ')]
    assert str(folder) in sentence
    assert 'Traceback' not in ended.err
    assert (tmp_path / 'file').read_text() == 'text'
