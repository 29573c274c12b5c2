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


def exported(run_command, finished_run, stage, folder, *options):
    """Export a stage of the run as ``<stage>.xml`` and so on."""
    row = next(row for row in finished_run.results if row['name'] == stage)
    checkpoint = finished_run.folder / row['checkpoint']
    ended = run_command('export', checkpoint, '--format', 'openvino', '--out', folder, '--name', stage, *options)
    assert ended.status == 0, ended.err
    return checkpoint


def test_an_int8_file_tells_its_precision_itself(run_command, finished_run, tmp_path):
    pytest.importorskip('nncf')
    checkpoint = exported(run_command, finished_run, 'bn', tmp_path, '--real-layers', 'int8')
    ended = run_command('verify', tmp_path / 'bn_int8.xml', '--checkpoint', checkpoint, '--images', 20)
    assert 'openvino int8' in ended.out  # whether it is near enough depends on the weights


def test_another_network_is_run_beside_and_drawn_but_not_judged(run_command, finished_run, tmp_path):
    pytest.importorskip('openvino')
    pytest.importorskip('matplotlib')
    checkpoint = exported(run_command, finished_run, 'bn', tmp_path)
    exported(run_command, finished_run, 'float', tmp_path)
    ended = run_command(
        *('verify', tmp_path / 'bn.xml', '--checkpoint', checkpoint, '--beside', tmp_path / 'float.xml'),
        *('--images', 200, '--picture', tmp_path / 'pictures'),
    )
    assert ended.status == 0, ended.err
    ours, other = (line.split() for line in ended.out.splitlines()[2:4])
    accuracy = {row['name']: f'{row["top1"]:.2f}%' for row in finished_run.results}
    assert (ours[1], ours[-1]) == ('bn.xml', 'verified')
    assert (other[1], other[-2:]) == ('float.xml', ['another', 'network'])
    assert accuracy['float'] in other
    assert len(other) == 8  # format, file, MB, input, top-1, ms and the verdict: nothing of a comparison
    assert not list(tmp_path.glob('*.unverified'))
    assert (tmp_path / 'pictures' / 'accuracy_time_size.png').is_file()


def test_another_network_on_other_images_is_refused(run_command, written, finished_run, tmp_path):
    pytest.importorskip('openvino')
    checkpoint, folder = written
    exported(run_command, finished_run, 'float', tmp_path, '--size', 24, 24)
    ended = run_command('verify', folder / 'net.onnx', '--checkpoint', checkpoint, '--beside', tmp_path / 'float.xml')
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert 'float.xml takes images that are made otherwise' in ended.err


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
