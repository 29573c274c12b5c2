"""The .tflite file itself, as the package ``tflite`` reads it, and what becomes of damaged ones."""

from dataclasses import replace

import numpy as np
import pytest
import tflite
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite.engine import TFLiteSession, convert, export_tflite
from bireal_plugin.export.tflite.file import MARKER, read_tflite, write_tflite
from bireal_plugin.folding.fold import fold
from tests.export.forged import damaged
from tests.export.tflite.test_binary import needs_larq

SHAPE = (1, 3, 9, 8)


def network():
    torch.manual_seed(0)
    return fold(
        nn.Sequential(
            nn.Conv2d(3, 40, 3, padding=1),
            BinaryConv2d(40, 12, 3, stride=2, padding=1),
            nn.PReLU(),
            BinaryConv2d(12, 5, 1, groups=1),
        ),
        SHAPE,
    )


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    return export_tflite(network(), tmp_path_factory.mktemp('tflite') / 'net.tflite', SHAPE)


def test_the_schema_finds_the_networks_input_and_output_in_nhwc(written):
    data = written.read_bytes()
    assert tflite.Model.ModelBufferHasIdentifier(data, 0)
    model = tflite.Model.GetRootAs(data)
    graph = model.Subgraphs(0)
    shapes = [graph.Tensors(i).ShapeAsNumpy().tolist() for i in (graph.Inputs(0), graph.Outputs(0))]
    assert shapes == [[1, 9, 8, 3], [1, 5, 4, 5]]
    assert model.Version() == 3


def test_constants_are_aligned_for_readers_that_map_the_file(written):
    data = written.read_bytes()
    model = tflite.Model.GetRootAs(data)
    places = []
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if buffer.DataLength():
            places.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert len(places) > 8
    assert all(place % 16 == 0 for place in places)


def test_all_options_of_the_binary_convolution_are_there(written):
    from flatbuffers import flexbuffers

    model = tflite.Model.GetRootAs(written.read_bytes())
    graph = model.Subgraphs(0)
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    codes = [model.OperatorCodes(operator.OpcodeIndex()).CustomCode() for operator in operators]
    options = [
        flexbuffers.Loads(o.CustomOptionsAsNumpy().tobytes())
        for o, c in zip(operators, codes, strict=True)
        if c == b'LceBconv2d'
    ]
    assert options[0] == dict(
        channels_in=40,
        dilation_height_factor=1,
        dilation_width_factor=1,
        fused_activation_function=0,
        pad_values=0,
        padding=0,
        stride_height=2,
        stride_width=2,
    )
    assert options[1] == {**options[0], 'channels_in': 12, 'padding': 1, 'stride_height': 1, 'stride_width': 1}


def test_equal_networks_give_equal_files(written, tmp_path):
    assert export_tflite(network(), tmp_path / 'net.tflite', SHAPE).read_bytes() == written.read_bytes()


def test_a_thousand_mutations_are_all_refused(written, tmp_path):
    """Nothing in the file is followed."""
    path = tmp_path / 'net.tflite'
    for data in damaged(written.read_bytes(), MARKER):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r'no TFLite model|did not write|checksum does not match'):
            read_tflite(path)


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (b'', 'is no TFLite model'),
        (b'\x1c\0\0\0TFL3' + bytes(100), 'that this package did not write'),
        (b'<net/>' * 100, 'is no TFLite model'),
        (b'\x1c\0\0\0TFL3' + MARKER + b'0' * 5, 'checksum does not match'),
    ],
)
def test_foreign_files_are_refused(content, sentence, tmp_path):
    (tmp_path / 'x.tflite').write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        TFLiteSession(tmp_path / 'x.tflite')


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match='does not exist'):
        TFLiteSession(tmp_path / 'none.tflite')


def changed(graph, of, **changes):
    """``graph`` with its first operator of that kind changed."""
    place = next(i for i, operator in enumerate(graph.operators) if operator.kind == of)
    graph.operators[place] = replace(graph.operators[place], **changes)


def shortened(graph):
    largest = max(graph.constants, key=lambda index: graph.constants[index].size)
    graph.constants[largest] = graph.constants[largest].reshape(-1)[:5]


@needs_larq
@pytest.mark.parametrize(
    'spoil',
    [
        lambda graph: changed(graph, 'CONV_2D', inputs=(0, 1, 100_000)),
        lambda graph: changed(graph, 'LceBconv2d', output=100_000),
        lambda graph: changed(graph, 'LceBconv2d', options={}),
        lambda graph: changed(graph, 'LceQuantize', kind='LceUnknown'),
        lambda graph: changed(graph, 'LceQuantize', kind='LceBconv2d'),
        lambda graph: graph.inputs.append(100_000),
        lambda graph: graph.outputs.append(-7),
        shortened,
    ],
)
def test_a_signed_file_that_makes_no_sense_to_the_interpreter_gives_a_sentence(spoil, tmp_path):
    """The interpreter itself may not survive it."""
    graph = convert(network(), SHAPE)
    spoil(graph)
    path = tmp_path / 'net.tflite'
    write_tflite(graph, path)
    with pytest.raises(InputError, match=r'Larq interpreter.*') as told:
        run_once(path)
    assert str(path) in str(told.value)


def run_once(path):
    with TFLiteSession(path, threads=1) as session:
        session(np.zeros(SHAPE, np.float32))


@needs_larq
def test_the_tensors_around_every_binary_layer_can_be_read_out(written, tmp_path):
    net = network()
    x = torch.randn(SHAPE)
    target = tmp_path / 'tapped.tflite'
    assert TFLiteSession.write_tapped(written, target, lambda pairs: [tensor for pair in pairs for tensor in pair]) == 4
    with TFLiteSession(target, threads=1) as session:
        output, *pairs = session(x)
    first = net[0](x)
    second = net[2](net[1](first))
    for got, want in zip([output, *pairs], [net(x), first, net[1](first), second, net[3](second)], strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), atol=1e-5)
