import numpy as np
import onnx
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from bireal_plugin import __version__
from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.onnx.engine import ONNXSession, export_onnx
from bireal_plugin.export.onnx.file import IR_VERSION, write_model
from bireal_plugin.export.onnx.qonnx import FORMAT, QONNXSession, export_qonnx
from bireal_plugin.export.packed.file import save_packed
from bireal_plugin.folding.fold import fold
from bireal_plugin.hosts.engines_private import pinned_ir_version
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.export.layer_grid import agreement, classifier, expected, folded_layers, geometries, images, with_edges
from tests.export.onnx.test_file import mutated
from tests.folding.test_fold import trained

pytest.importorskip('qonnx')
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util.cleanup import cleanup_model


@settings(deadline=None, max_examples=2, derandomize=True, phases=[Phase.generate])
@given(
    layers=st.lists(geometries(), min_size=10, max_size=10),
    batch=st.integers(1, 3),
    height=st.integers(9, 14),
    width=st.integers(9, 14),
)
def test_binary_layers_are_exact_to_the_last_bit(layers, batch, height, width, tmp_path_factory):
    net, x = folded_layers(layers), with_edges(batch, 60, height, width)
    path = export_qonnx(net, tmp_path_factory.mktemp('grid') / 'net.qonnx', x.shape)
    for (folded, _), layer, got in zip(net.layers, layers, QONNXSession(path)(x), strict=True):
        assert np.array_equal(got, expected(folded, x[:, : folded.in_channels])), layer


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    net = fold(classifier())
    return net, export_qonnx(net, tmp_path_factory.mktemp('qonnx') / 'net.qonnx', (2, 3, 64, 64))


def test_a_basic_network_agrees_with_torch(exported):
    net, path = exported
    x = images(2, 3, 64, 64)
    assert agreement(QONNXSession(path)(x), [net(x)]) > 0.5


def test_a_bottleneck_backbone_agrees_with_torch_in_all_its_outputs(tmp_path):
    net = fold(trained(BiRealResNet(50, base_channels=8, num_stages=2, out_indices=(0, 1))))
    session = QONNXSession(export_qonnx(net, tmp_path / 'net.qonnx', (3, 3, 32, 32)))
    x = images(3, 3, 32, 32)
    assert agreement(session(x), net(x)) > 0.5


def test_every_tensor_has_a_shape_and_every_sign_is_bipolar(exported):
    """16 layers, each with the sign of its input and of its weight; their convolutions count in whole numbers."""
    model = ModelWrapper(onnx.load(exported[1])).transform(InferShapes()).transform(InferDataTypes())
    assert model.check_all_tensor_shapes_specified()
    signs = model.get_nodes_by_op_type('BipolarQuant')
    assert {node.domain for node in signs} == {'qonnx.custom_op.general'}
    bipolar = {node.output[0] for node in signs}
    assert len(bipolar) == 32
    assert {model.get_tensor_datatype(name) for name in bipolar} == {DataType['BIPOLAR']}
    binary = [node for node in model.get_nodes_by_op_type('Conv') if set(node.input) <= bipolar]
    assert len(binary) == 16
    assert all(model.get_tensor_datatype(node.output[0]).is_integer() for node in binary)


def test_the_cleanup_that_flows_begin_with_leaves_plain_weights(tmp_path):
    """Before the weight's BipolarQuant stands one initializer of +-1, and the network computes the same."""
    torch.manual_seed(0)
    net = fold(nn.Sequential(BinaryConv2d(7, 5, 3), BinaryConv2d(5, 8, 1)))
    session, x = QONNXSession(export_qonnx(net, tmp_path / 'net.qonnx', (2, 7, 9, 9))), with_edges(2, 7, 9, 9)
    before = session(x)[0]
    with pinned_ir_version(IR_VERSION):
        session.model = cleanup_model(session.model)
    nodes = session.model.graph.node
    assert {node.op_type for node in nodes} == {'BipolarQuant', 'Conv', 'Mul', 'Add'}
    stored = [session.model.get_initializer(node.input[0]) for node in nodes if node.op_type == 'BipolarQuant']
    weights = [weight for weight in stored if weight is not None]
    assert sorted(weight.shape for weight in weights) == [(5, 7, 3, 3), (8, 5, 1, 1)]
    assert all(np.array_equal(np.abs(weight), np.ones_like(weight)) for weight in weights)
    session.names = [value.name for value in session.model.graph.input]
    assert np.array_equal(session(x)[0], before)


def test_the_file_is_about_the_packed_size(tmp_path):
    config = dict(
        type='BiRealClassifier', backbone=dict(type='BiRealResNet', depth=18, out_indices=(3,)), num_classes=1000
    )
    net = BiRealClassifier(config['backbone'], 1000).eval()
    packed = save_packed(net, config, tmp_path / 'net.safetensors')
    assert export_qonnx(fold(net), tmp_path / 'net.qonnx', (1, 3, 64, 64)).stat().st_size < 1.01 * packed


def test_the_file_says_who_wrote_it(exported):
    metadata = {entry.key: entry.value for entry in onnx.load(exported[1]).metadata_props}
    assert (metadata['producer'], metadata['version']) == ('bireal-plugin', __version__)


def test_hundreds_of_mutations_are_all_refused(exported, tmp_path):
    original, path = exported[1].read_bytes(), tmp_path / 'net.qonnx'
    for seed in range(300):
        path.write_bytes(mutated(original, seed))
        with pytest.raises(InputError, match=r'truncated|was changed'):
            QONNXSession(path)


def test_onnx_and_qonnx_files_are_not_taken_for_each_other(exported, tmp_path):
    with pytest.raises(InputError, match='not written by this package as bireal-onnx-1'):
        ONNXSession(exported[1])
    path = export_onnx(fold(BinaryConv2d(4, 8, 3)), tmp_path / 'net.onnx', (1, 4, 9, 9))
    with pytest.raises(InputError, match='not written by this package as bireal-qonnx-1'):
        QONNXSession(path)
    with pytest.raises(InputError, match='does not exist'):
        QONNXSession(tmp_path / 'none.qonnx')


@pytest.mark.parametrize('shape', [(1, 3, 64, 64), (2, 4, 64, 64), (2, 3, 64, 65), (3, 64, 64)])
def test_another_shape_than_the_files_is_told(exported, shape):
    with pytest.raises(InputError, match=r'takes numbers of shape \(2, 3, 64, 64\)'):
        QONNXSession(exported[1])(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ('net', 'name', 'shape', 'sentence'),
    [
        (BinaryConv2d(4, 8, 3), 'net.qonnx', (1, 4, 9, 9), r'export the result of fold\(model\)'),
        (nn.Conv2d(4, 8, 3), 'net.qonnx', (0, 4, 9, 9), r'is \(N, C, H, W\)'),
    ],
)
def test_a_failed_export_is_told_and_destroys_nothing(net, name, shape, sentence, tmp_path):
    (tmp_path / 'net.qonnx').write_text('before')
    with pytest.raises(InputError, match=sentence):
        export_qonnx(net, tmp_path / name, shape)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [('net.qonnx', 'before')]


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda node: setattr(node, 'domain', 'a_module'), r'has the operator a_module\.\w+ or functions'),
        (lambda node: setattr(node, 'op_type', 'Unknown'), 'qonnx cannot run .*Unknown'),
    ],
    ids=['domain', 'name'],
)
def test_an_operator_of_no_export_is_refused_before_qonnx_imports_its_domain(
    exported, tmp_path, monkeypatch, change, words
):
    (tmp_path / 'a_module.py').write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    model = onnx.load(exported[1])
    change(next(node for node in model.graph.node if not node.domain))
    del model.metadata_props[:]
    write_model(model, tmp_path / 'net.qonnx', file_format=FORMAT)
    with pytest.raises(InputError, match=words):
        QONNXSession(tmp_path / 'net.qonnx')
    assert not (tmp_path / 'ran').exists()
