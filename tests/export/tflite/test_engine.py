"""Networks and real layers as .tflite files, run in the released Larq interpreter."""

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite.engine import TFLiteSession, convert, export_tflite
from bireal_plugin.folding.fold import fold
from bireal_plugin.folding.layers import FoldedBinaryConv2d
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.export.real_layers import COLOURS, REAL_LAYERS, Function, Named, results
from tests.export.tflite.test_binary import needs_larq, run
from tests.folding.test_fold import trained

IMAGE = (1, 3, 64, 64)


def classifier(depth, channels=8, num_stages=4, **options):
    torch.manual_seed(0)
    options |= dict(num_stages=num_stages, out_indices=(num_stages - 1,))
    net = BiRealResNet(depth, base_channels=channels, **options)
    return fold(trained(BiRealClassifier(net, 10)), IMAGE)


@needs_larq
@pytest.mark.parametrize(
    ('depth', 'options'),
    [
        (18, {}),
        (34, dict(structure='resnet')),
        (50, {}),
        (101, {}),
        (152, {}),
        (50, dict(structure='plain', deep_stem=True)),
        (18, dict(rsign=True, rprelu=True)),
        (50, dict(rsign=True, rprelu=True, style='caffe', num_stages=2)),
        (18, dict(stem='cifar', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))),
        (18, dict(conv='XNORConv2d', num_stages=2)),
        (18, dict(conv='ABCConv2d', num_stages=2)),
    ],
)
def test_a_network_gives_the_logits_of_torch(depth, options, tmp_path):
    """Loosely, and seen from the images' means: a flipped sign would cascade."""
    net = classifier(depth, **options)
    x = torch.randn(1, *IMAGE[1:])
    (got,) = run(net, x, tmp_path)
    want = net(x).detach().numpy()
    assert got.shape == want.shape == (1, 10)
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())
    assert got.argmax() == want.argmax()


@needs_larq
def test_a_backbone_has_all_its_outputs_in_torchs_layout(tmp_path):
    torch.manual_seed(0)
    net = fold(trained(BiRealResNet(18, base_channels=8)), (1, 3, 65, 47))
    x = torch.randn(1, 3, 65, 47)
    outputs, wanted = run(net, x, tmp_path), net(x)
    assert [output.shape for output in outputs] == [tuple(want.shape) for want in wanted]
    np.testing.assert_allclose(outputs[0], wanted[0].detach().numpy(), atol=1e-4)


class Watched(nn.Module):
    """A network whose outputs are the input and the output of every convolution and linear layer in it."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.seen = []
        self.layers = [m for m in net.modules() if isinstance(m, (FoldedBinaryConv2d, nn.Conv2d, nn.Linear))]
        for module in self.layers:
            module.register_forward_hook(lambda module, given, output: self.seen.append((module, given[0], output)))

    def forward(self, x):
        self.seen.clear()
        self.net(x)
        return [tensor for _, given, output in self.seen for tensor in (given, output)]


@needs_larq
@pytest.mark.parametrize(('depth', 'count'), [(18, 21), (50, 57)])
def test_every_layer_of_a_network_is_right_on_what_it_was_given(depth, count, tmp_path):
    """In float64, from the interpreter's own inputs, so that errors cannot add up or cascade."""
    net = classifier(depth, channels=32)
    watched = Watched(net)
    x = torch.randn(IMAGE)
    tensors = [torch.from_numpy(array) for array in run(watched, x, tmp_path)]
    watched(x)
    layers = [module for module, _, _ in watched.seen]
    assert len(layers) == len(watched.layers) == count
    for module, x, y in zip(layers, tensors[::2], tensors[1::2], strict=True):
        want = module.double()(x.double()).detach()
        assert float((y - want).abs().max()) <= 5e-6 * float(want.abs().max()), module


@pytest.mark.parametrize(('depth', 'megabytes'), [(18, 4.25), (34, 5.55)])
def test_the_papers_networks_fit_their_sizes(depth, megabytes, tmp_path):
    net = fold(BiRealClassifier(BiRealResNet(depth, out_indices=(3,)), 1000).eval(), (1, 3, 224, 224))
    path = export_tflite(net, tmp_path / 'net.tflite', (1, 3, 224, 224))
    assert path.stat().st_size <= megabytes * 1e6


@pytest.fixture(scope='module', params=[(1, 13, 10), (2, 8, 7)], ids=str)
def real_layers(request, tmp_path_factory):
    return results(run, tmp_path_factory.mktemp('real'), *request.param)


@needs_larq
@pytest.mark.parametrize('name', REAL_LAYERS)
def test_a_real_layer_gives_what_torch_does(name, real_layers):
    wanted, outputs = real_layers
    assert outputs[name].shape == tuple(wanted[name].shape)
    np.testing.assert_allclose(outputs[name], wanted[name].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('layer', 'sentence'),
    [
        (nn.GELU(), r'no form for aten.gelu.default of head \(GELU\)'),
        (nn.BatchNorm2d(4), r'no form for aten.*batch_norm.* of head \(BatchNorm2d\)'),
        (BinaryConv2d(4, 4, 3), r'head is a BinaryConv2d still; export the result of fold'),
        (nn.MaxPool2d(3, 1, dilation=2), r'max_pool2d.default of head \(MaxPool2d\): .*dilation \(2, 2\)'),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), r'avg_pool2d.* of head .*padding \(1, 1\), counted, from '),
        (nn.AvgPool2d(2, divisor_override=3), 'divisor_override'),
        (nn.AdaptiveAvgPool2d(2), r'adaptive average pool to \(2, 2\)'),
        (nn.Linear(8, 2), r'head \(Linear\): .* not of 4 dimensions'),
        (nn.Upsample((9, 12)), 'not by a whole factor'),
        (nn.Softmax(2), 'only one over the channels'),
        (nn.ELU(0.5), 'alpha=0.5'),
        (nn.CircularPad2d(1), "mode 'circular'"),
        (Function(lambda x: torch.add(x, x, alpha=2)), 'alpha=2'),
        (Function(lambda x: x.mean((2, 3)) + x.flatten(2)[:, :, 0]), 'no form for aten.select'),
        (Function(lambda x: x.double()), r'no form for aten.*to'),
        (Function(lambda x: (x, torch.ones(3))), 'does not depend on its input'),
    ],
)
def test_what_has_no_form_is_told_by_operator_and_module(layer, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        export_tflite(Named(layer).eval(), tmp_path / 'net.tflite', (1, 4, 8, 8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('shape', 'sentence'),
    [
        ((3, 64, 64), r'is \(N, C, H, W\), not \(3, 64, 64\)'),
        ((1, 0, 64, 64), r'not \(1, 0, 64, 64\)'),
        ((1, 4, 64, 64), r'BiRealClassifier cannot be traced with inputs of shape \(1, 4, 64, 64\)'),
    ],
)
def test_wrong_shapes_are_told(shape, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        export_tflite(classifier(18), tmp_path / 'net.tflite', shape)


def test_a_failed_export_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / 'net.tflite'
    path.write_bytes(b'precious')
    with pytest.raises(InputError):
        export_tflite(nn.GELU(), path, (1, 3, 8, 8))
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b'precious']


def test_what_depends_on_no_input_is_computed_at_export():
    shift = Function(lambda x: x + (COLOURS.view(-1, 1, 1) * 2).exp())
    graph = convert(shift, (1, 6, 4, 4))
    assert [operator.kind for operator in graph.operators] == ['ADD']
    (values,) = graph.constants.values()
    np.testing.assert_allclose(values, np.exp(2 * COLOURS.numpy()).reshape(1, 1, 1, 6), rtol=1e-6)


@needs_larq
def test_the_same_output_twice_and_the_input_as_output(tmp_path):
    net = Function(lambda x: ((y := x + 1), y, x))
    x = torch.randn(1, 2, 3, 4)
    first, second, third = run(net, x, tmp_path)
    assert np.array_equal(first, (x + 1).numpy())
    assert np.array_equal(second, first)
    assert np.array_equal(third, x.numpy())


@needs_larq
@pytest.mark.parametrize('batch', [1, 2, 3, 5])
def test_any_batch_size_is_run_in_pieces_of_the_files(batch, tmp_path):
    net = classifier(18)
    path = export_tflite(net, tmp_path / 'net.tflite', (2, *IMAGE[1:]))
    x = torch.randn(batch, *IMAGE[1:])
    with TFLiteSession(path, threads=1) as session:
        (got,) = session(x)
        singles = [session(x[i : i + 1])[0] for i in range(batch)]
    assert got.shape == (batch, 10)
    assert np.array_equal(got, np.concatenate(singles))
