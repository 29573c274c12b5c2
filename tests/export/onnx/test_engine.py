import copy

import numpy as np
import onnx
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from bireal_plugin.binary import ABCConv2d, BinaryConv2d, XNORConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.onnx import lower
from bireal_plugin.export.onnx.engine import ONNXSession, export_onnx
from bireal_plugin.export.packed.file import save_packed
from bireal_plugin.folding.fold import fold
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.export.layer_grid import agreement, classifier, expected, folded_layers, geometries, images, with_edges
from tests.folding.test_fold import trained


@settings(deadline=None, max_examples=3, derandomize=True, phases=[Phase.generate])
@given(
    layers=st.lists(geometries(), min_size=12, max_size=12),
    batch=st.integers(1, 3),
    height=st.integers(9, 14),
    width=st.integers(9, 14),
)
def test_binary_layers_are_exact_to_the_last_bit(layers, batch, height, width, tmp_path_factory):
    net, x = folded_layers(layers), with_edges(batch, 60, height, width)
    path = export_onnx(net, tmp_path_factory.mktemp('grid') / 'net.onnx', (1, 60, 24, 24))
    outputs = ONNXSession(path, threads=1)(x)
    for (folded, _), layer, got in zip(net.layers, layers, outputs, strict=True):
        assert np.array_equal(got, expected(folded, x[:, : folded.in_channels])), layer


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    net = fold(classifier())
    return net, export_onnx(net, tmp_path_factory.mktemp('onnx') / 'net.onnx', (1, 3, 64, 64))


@pytest.mark.parametrize('shape', [(1, 3, 64, 64), (5, 3, 64, 64), (2, 3, 97, 66)])
def test_a_classifier_runs_at_other_batch_and_image_sizes_than_it_was_exported_with(exported, shape):
    net, path = exported
    session = ONNXSession(path, threads=1)
    x = images(*shape)
    assert session.input_shape == ('batch', 3, 'height', 'width')
    assert agreement(session(x), [net(x)]) > 0.5


@pytest.mark.parametrize('options', [dict(depth=50), dict(rsign=True, rprelu=True)])
def test_other_networks_agree_with_torch(options, tmp_path):
    net = fold(classifier(num_stages=2, **options))
    session = ONNXSession(export_onnx(net, tmp_path / 'net.onnx', (1, 3, 32, 32)), threads=1)
    x = images(4, 3, 32, 32)
    assert agreement(session(x), [net(x)]) > 0.5


def test_a_dilated_backbone_has_all_its_outputs_in_order(tmp_path):
    net = fold(trained(BiRealResNet(18, base_channels=20, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))))
    session = ONNXSession(export_onnx(net, tmp_path / 'net.onnx', (1, 3, 64, 64)), threads=1)
    x = images(3, 3, 75, 90)
    outputs = session(x)
    assert [o.shape for o in outputs] == [tuple(o.shape) for o in net(x)]
    assert agreement(outputs, net(x)) > 0.5


class FixedSize(nn.Module):
    """A layer behind code that fixes the height of its input."""

    def __init__(self):
        super().__init__()
        self.conv = BinaryConv2d(4, 8, 3, padding=1)

    def forward(self, x):
        return self.conv(x) + torch.ones(9, 1)


def test_a_size_that_the_code_fixes_is_fixed_in_the_file_and_told(tmp_path):
    session = ONNXSession(export_onnx(fold(FixedSize()), tmp_path / 'net.onnx', (1, 4, 9, 9)), threads=1)
    assert session.input_shape == ('batch', 4, 9, 'width')
    assert session(torch.randn(3, 4, 9, 12))[0].shape == (3, 8, 9, 12)
    with pytest.raises(InputError, match=r'takes numbers of shape \(batch, 4, 9, width\)'):
        session(torch.randn(1, 4, 10, 9))


def test_a_layer_that_is_used_twice_has_its_weight_once(tmp_path):
    conv = BinaryConv2d(7, 7, 3, padding=1)
    net = fold(nn.Sequential(conv, conv))
    path = export_onnx(net, tmp_path / 'net.onnx', (1, 7, 8, 8))
    graph, x = onnx.load(path).graph, with_edges(2, 7, 8, 8)
    assert [tensor.data_type for tensor in graph.initializer].count(onnx.TensorProto.UINT8) == 1
    assert np.array_equal(ONNXSession(path, threads=1)(x)[0], net(x).numpy())


@pytest.mark.parametrize('layer', [XNORConv2d, ABCConv2d])
def test_layers_of_other_methods_agree_with_torch(layer, tmp_path):
    torch.manual_seed(0)
    net = fold(nn.Sequential(layer(6, 8, 3, padding=1)))
    session = ONNXSession(export_onnx(net, tmp_path / 'net.onnx', (1, 6, 9, 9)), threads=1)
    x = images(2, 6, 11, 9)
    torch.testing.assert_close(torch.from_numpy(session(x)[0]), net(x), rtol=1e-5, atol=1e-5)


def test_the_file_is_about_the_packed_size(tmp_path):
    config = dict(
        type='BiRealClassifier', backbone=dict(type='BiRealResNet', depth=18, out_indices=(3,)), num_classes=1000
    )
    net = BiRealClassifier(config['backbone'], 1000).eval()
    packed = save_packed(net, config, tmp_path / 'net.safetensors')
    assert export_onnx(fold(net), tmp_path / 'net.onnx', (1, 3, 64, 64)).stat().st_size < 1.01 * packed


def test_onnxruntime_unpacks_weights_when_it_loads(exported, tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'optimized.onnx')
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(exported[1], options, providers=['CPUExecutionProvider'])
    operators = {node.op_type for node in onnx.load(tmp_path / 'optimized.onnx').graph.node}
    assert {'Where', 'Conv'} <= operators
    assert not operators & {'Cast', 'Gather', 'Reshape', 'Slice'}


def test_the_file_is_a_valid_model_of_standard_operators(exported):
    model = onnx.load(exported[1])
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [('', 18)]
    assert {node.domain for node in model.graph.node} == {''}
    assert not model.functions
    assert sum(node.op_type == 'Where' for node in model.graph.node) == 16


@pytest.mark.parametrize('shape', [(1, 4, 64, 64), (3, 64, 64), (0, 3, 64, 64)])
def test_a_wrong_shape_is_told(exported, shape):
    with pytest.raises(InputError, match=r'takes numbers of shape \(batch, 3, height, width\)'):
        ONNXSession(exported[1])(torch.zeros(shape))


def test_an_image_too_small_for_the_network_is_told(tmp_path):
    net = fold(nn.Sequential(BinaryConv2d(4, 8, 5)))
    session = ONNXSession(export_onnx(net, tmp_path / 'net.onnx', (1, 4, 9, 9)))
    with pytest.raises(InputError, match=r'cannot run on inputs of shape \(1, 4, 3, 9\)'):
        session(np.zeros((1, 4, 3, 9), np.float32))


@pytest.mark.parametrize(
    ('net', 'shape', 'sentence'),
    [
        (BinaryConv2d(4, 8, 3), (1, 4, 9, 9), r'export the result of fold\(model\)'),
        (nn.Conv2d(4, 8, 3), (4, 9, 9), r'is \(N, C, H, W\)'),
        (
            nn.Conv2d(4, 8, 3),
            (1, 5, 9, 9),
            r'cannot be traced with inputs of shape \(1, 5, 9, 9\)',
        ),
    ],
)
def test_a_failed_export_is_told_and_destroys_nothing(net, shape, sentence, tmp_path):
    (tmp_path / 'net.onnx').write_text('before')
    with pytest.raises(InputError, match=sentence):
        export_onnx(net, tmp_path / 'net.onnx', shape)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [('net.onnx', 'before')]


@pytest.fixture(scope='module')
def small():
    """A network and its trace, which is the same for every opset."""
    net = fold(classifier(num_stages=2))
    return net, lower.trace(net, (1, 3, 32, 32), dynamic=True)


@pytest.mark.parametrize('opset', [14, 17, 18, 19, 21, 26])
def test_other_opsets_predict_the_same(opset, small, tmp_path, monkeypatch):
    net, traced = small
    monkeypatch.setattr(lower, 'trace', lambda *_, **__: copy.deepcopy(traced))
    path = export_onnx(net, tmp_path / 'net.onnx', (1, 3, 32, 32), opset=opset)
    model = onnx.load(path)
    assert [(each.domain, each.version) for each in model.opset_import] == [('', opset)]
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        'batch',
        3,
        'height',
        'width',
    ]
    x = torch.randn(2, 3, 40, 33)
    with torch.no_grad():
        np.testing.assert_allclose(ONNXSession(path, threads=1)(x)[0], net(x).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('opset', 'sentence'), [(9, 'no form in opset 9 .*give 18 or a newer one'), (99, 'opset 99 is not known')]
)
def test_an_opset_without_a_form_is_told(opset, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        export_onnx(fold(nn.Sequential(BinaryConv2d(4, 8, 3))), tmp_path / 'net.onnx', (1, 4, 9, 9), opset=opset)
    assert list(tmp_path.iterdir()) == []
