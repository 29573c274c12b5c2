import numpy as np
import onnx
import pytest

from bireal_plugin import __version__
from bireal_plugin.errors import InputError, require
from bireal_plugin.export.onnx.engine import FORMAT, ONNXSession, export_onnx
from bireal_plugin.export.onnx.file import write_model
from bireal_plugin.folding.fold import fold
from tests.export.layer_grid import classifier


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    return export_onnx(fold(classifier()), tmp_path_factory.mktemp('onnx') / 'net.onnx', (1, 3, 64, 64))


def test_the_file_says_who_wrote_it_and_nothing_of_where(exported):
    model = onnx.load(exported)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert (metadata['producer'], metadata['version']) == ('bireal-plugin', __version__)
    assert b'.py' not in exported.read_bytes()


def mutated(original, seed):
    """Bits flipped, bytes cut out, cut off, doubled or overwritten anywhere."""
    rng = np.random.default_rng(seed)
    data, place, length = bytearray(original), int(rng.integers(len(original))), int(rng.integers(1, 50))
    match seed % 5:
        case 0 | 1:
            data[place] ^= 1 << int(rng.integers(8))
        case 2:
            del data[place : place + length]
        case 3:
            data[place:place] = data[place : place + length]
        case _:
            data = data[:place] if seed % 2 else data + data[:length]
    return bytes(data)


def test_hundreds_of_mutations_are_all_refused(exported, tmp_path):
    original, path = exported.read_bytes(), tmp_path / 'net.onnx'
    for seed in range(600):
        path.write_bytes(mutated(original, seed))
        with pytest.raises(InputError, match=r'truncated|was changed'):
            ONNXSession(path)


@pytest.mark.parametrize('place', [0, 1, 2, 64, 65, 66, 67, 79])
def test_every_byte_of_the_checksum_counts_too(exported, place, tmp_path):
    data = bytearray(exported.read_bytes())
    data[-1 - place] ^= 1
    (tmp_path / 'net.onnx').write_bytes(data)
    with pytest.raises(InputError):
        ONNXSession(tmp_path / 'net.onnx')


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / 'net.onnx'
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in 'xy']
    graph = onnx.helper.make_graph([onnx.helper.make_node('Neg', ['x'], ['y'])], 'foreign', value[:1], value[1:])
    onnx.save(onnx.helper.make_model(graph), path)
    with pytest.raises(InputError, match='not written by this package'):
        ONNXSession(path)
    path.write_bytes(b'')
    with pytest.raises(InputError, match='truncated'):
        ONNXSession(path)
    with pytest.raises(InputError, match='does not exist'):
        ONNXSession(tmp_path / 'none.onnx')


def test_what_this_onnxruntime_cannot_run_is_told(exported, tmp_path):
    """A file of a later opset, as a later release may write it."""
    model = onnx.load(exported)
    model.opset_import[0].version = 1000
    write_model(model, tmp_path / 'net.onnx', file_format=FORMAT)
    with pytest.raises(InputError, match=r'onnxruntime \S+ cannot run .*net.onnx'):
        ONNXSession(tmp_path / 'net.onnx')


def test_a_missing_package_is_told_with_what_installs_it():
    with pytest.raises(InputError, match=r"needs the package no_such_package: pip install 'bireal-plugin\[onnx\]'"):
        require('onnx', 'no_such_package', engine='onnx')


def test_numbers_out_of_another_file_are_refused(exported, tmp_path, monkeypatch):
    """Even of one beside the current folder, which onnxruntime would read."""
    monkeypatch.chdir(tmp_path)
    model = onnx.load(exported)
    tensor = next(each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT)
    (tmp_path / 'secret.bin').write_bytes(tensor.raw_data)
    tensor.ClearField('raw_data')
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='secret.bin')
    del model.metadata_props[:]
    write_model(model, tmp_path / 'net.onnx', file_format=FORMAT)
    with pytest.raises(InputError, match=r'net\.onnx takes numbers out of other files'):
        ONNXSession(tmp_path / 'net.onnx')
