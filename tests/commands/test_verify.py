"""``bireal verify`` judges files that were written before as ``bireal export --verify`` judges its own."""

import pytest


@pytest.fixture(scope='module')
def written(run_command, finished_run, tmp_path_factory):
    """A checkpoint and the folder of its exported files."""
    row = next(row for row in finished_run.results if row['name'] == 'bn')
    checkpoint, folder = finished_run.folder / row['checkpoint'], tmp_path_factory.mktemp('files')
    ended = run_command(
        *('export', checkpoint, '--format', 'packed', 'onnx', '--out', folder, '--name', 'net', '--verify'),
        *('--images', 20),
    )
    assert ended.status == 0, ended.err
    return checkpoint, folder


def test_files_are_found_right(run_command, written):
    checkpoint, folder = written
    files = [folder / 'net.safetensors', folder / 'net.onnx']
    ended = run_command('verify', *files, '--checkpoint', checkpoint, '--images', 20)
    assert ended.status == 0, ended.err
    assert all(format in ended.out for format in ('packed', 'onnx'))


def test_files_of_another_checkpoint_fail_and_are_marked(run_command, written, finished_run, tmp_path):
    _, folder = written
    other = next(row for row in finished_run.results if row['name'] == 'binary')
    file = tmp_path / 'net.onnx'
    file.write_bytes((folder / 'net.onnx').read_bytes())
    ended = run_command('verify', file, '--checkpoint', finished_run.folder / other['checkpoint'], '--images', 20)
    assert ended.status == 1
    assert ended.err.startswith('error: onnx: ')
    assert (tmp_path / 'net.onnx.unverified').is_file()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['absent.onnx'], 'absent.onnx'),
        (['net.pb'], 'no engine runs net.pb'),
        (['NET', '--real-layers', 'int8'], 'onnx has real layers f32, not int8'),
    ],
    ids=['missing', 'suffix', 'precision'],
)
def test_mistake_is_one_sentence(run_command, written, arguments, words):
    checkpoint, folder = written
    given = [folder / 'net.onnx' if argument == 'NET' else argument for argument in arguments]
    ended = run_command('verify', *given, '--checkpoint', checkpoint)
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert words in ended.err
