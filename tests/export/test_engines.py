"""One call writes, one call runs, whatever the engine; mistakes are told by name."""

import copy
import os

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export import Session, export, fold
from bireal_plugin.export.engines import ENGINES, files_of
from bireal_plugin.export.session_io import EngineSession
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.export.c.compilers import needs_compiler
from tests.export.tflite.test_binary import needs_larq
from tests.folding.test_fold import trained

BACKBONE = dict(base_channels=4, in_channels=1, stem='cifar', num_stages=2, out_indices=(1,))
CONFIG = dict(type='BiRealClassifier', backbone=dict(type='BiRealResNet', depth=18, **BACKBONE), num_classes=10)
SHAPE = (2, 1, 16, 16)
OPTIONS = dict(packed=dict(config=CONFIG))
TEXTS = dict(config='{"size": [16, 16], "é": "<x>"}')
PACKAGES = dict(openvino='openvino', onnx='onnxruntime', qonnx='qonnx', tflite='tflite')
FORMATS = [
    'packed',
    pytest.param('c', marks=needs_compiler),
    'openvino',
    'onnx',
    'qonnx',
    pytest.param('tflite', marks=needs_larq),
]
# (N, C, H, W) that a session says: what any size will do for has a name.
SHAPES = dict(
    packed=('batch', 1, 'height', 'width'),
    c=SHAPE,
    openvino=SHAPE,
    onnx=('batch', 1, 'height', 'width'),
    qonnx=SHAPE,
    tflite=SHAPE,
)


@pytest.fixture(scope='module')
def net():
    return trained(BiRealClassifier(BiRealResNet(18, **BACKBONE), 10))


@pytest.fixture(scope='module', params=FORMATS)
def written(request, net, tmp_path_factory):
    """Format and path of a file that was written under a umask of its own, with texts to keep."""
    format = request.param
    pytest.importorskip(PACKAGES.get(format, 'torch'))
    path = tmp_path_factory.mktemp(format) / f'net{ENGINES[format].suffix}'
    before = os.umask(0o027)
    try:
        export(net, format, SHAPE, path=path, metadata=TEXTS, **OPTIONS.get(format, {}))
    finally:
        os.umask(before)
    return format, path


def predicts_as(path, net):
    x = torch.randn(SHAPE)
    with torch.no_grad():
        want = net(x).numpy()
    (got,) = Session(path, threads=1)(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_what_is_exported_predicts_as_the_network(net, written):
    predicts_as(written[1], net)


@pytest.mark.parametrize('format', FORMATS)
def test_bi_real_20_with_padded_shortcuts_predicts_as_the_training_network(format, tmp_path):
    pytest.importorskip(PACKAGES.get(format, 'torch'))
    backbone = dict(type='BiRealResNet', depth=20, transition='pad')
    config = dict(type='BiRealClassifier', backbone=backbone, num_classes=10)
    torch.manual_seed(0)
    net = trained(MODELS.build(config)).eval()
    options = dict(config=config) if format == 'packed' else {}
    x = torch.randn(4, 3, 32, 32)
    path = export(net, format, tuple(x.shape), path=tmp_path / f'net{ENGINES[format].suffix}', **options)
    with torch.no_grad():
        want = net(x).numpy()
    with Session(path, threads=1) as session:
        np.testing.assert_allclose(session(x)[0], want, atol=1e-4 * np.abs(want).max())


def test_a_folded_network_is_exported_too(net, tmp_path):
    predicts_as(export(fold(net, SHAPE), 'packed', SHAPE, path=tmp_path / 'net.safetensors', config=CONFIG), net)


def test_only_the_engines_files_are_written_and_by_the_umask(written):
    _, path = written
    assert sorted(path.parent.iterdir()) == sorted(files_of(path))
    assert {file.stat().st_mode & 0o777 for file in files_of(path)} == {0o640}


def test_every_session_has_metadata_shape_and_end(written):
    format, path = written
    with Session(path, threads=1) as session:
        assert session.metadata['config'] == TEXTS['config']
        assert session.input_shape == SHAPES[format]
        with pytest.raises(InputError, match=r'takes numbers of shape .* not float32 of shape \(2, 3, 16, 16\)'):
            session(np.zeros((2, 3, 16, 16), np.float32))
        assert session(np.zeros(SHAPE))[0].shape == (2, 10)
    session.close()
    with pytest.raises(InputError, match=f'the session of {path} is closed'):
        session(np.zeros(SHAPE))


def test_the_model_is_unchanged(net, tmp_path):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    export(net, 'packed', SHAPE, path=tmp_path / 'net.safetensors', config=CONFIG)
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


def test_without_a_path_the_file_has_the_name_of_the_class(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export(net, 'packed', SHAPE, config=CONFIG).name == 'birealclassifier.safetensors'
    assert [path.name for path in tmp_path.iterdir()] == ['birealclassifier.safetensors']


@pytest.mark.parametrize('threads', [1, 2])
def test_a_packed_session_leaves_torch_its_threads(net, tmp_path, threads):
    path = export(net, 'packed', SHAPE, path=tmp_path / 'net.safetensors', config=CONFIG)
    session, during = Session(path, threads=threads), []
    session.model.register_forward_hook(lambda *_: during.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    session(torch.randn(SHAPE))
    assert (during, torch.get_num_threads()) == ([threads], before)


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (lambda net, folder: export(net, 'coreml', SHAPE), "format is packed, c, openvino, .*, not 'coreml'"),
        (
            lambda net, folder: Session(folder / 'net.tar'),
            r'no engine runs .*net.tar; there are .safetensors \(packed\)',
        ),
        (lambda net, folder: Session(folder / 'net.safetensors'), 'does not exist'),
        *(
            (lambda net, folder, format=format: export(net, format, SHAPE, path=folder / 'net.bin'), f'file {suffix}')
            for format, suffix in (
                ('c', '.c'),
                ('openvino', '.xml'),
                ('onnx', '.onnx'),
                ('qonnx', '.qonnx'),
                ('tflite', '.tflite'),
            )
        ),
        (
            lambda net, folder: export(net, 'packed', SHAPE, path=folder / 'a' / 'net.safetensors', config=CONFIG),
            'make',
        ),
        (lambda net, folder: export(net, 'packed', SHAPE), 'export to packed needs the option config'),
        (
            lambda net, folder: export(net, 'packed', SHAPE, config=CONFIG, calibration=[]),
            "export to packed has no option 'calibration'; it takes config, real_layers, metadata",
        ),
        (
            lambda net, folder: Session(folder / 'net.safetensors', real_layers='bf16'),
            "a session of .* has no option 'real_layers'; it takes threads",
        ),
        (
            lambda net, folder: Session(export(net, 'packed', SHAPE, path=folder / 'n.safetensors', config=CONFIG))(
                torch.zeros(1, 3, 16, 16)
            ),
            r'takes numbers of shape \(batch, 1, height, width\), not float32 of shape \(1, 3, 16, 16\)',
        ),
        (
            lambda net, folder: export(
                BiRealResNet(18, base_channels=8, weights='real'), 'packed', SHAPE, config=CONFIG
            ),
            'is not binary yet',
        ),
    ],
)
def test_mistakes_are_told_by_name(net, call, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=sentence):
        call(net, tmp_path)


class OptionA(nn.Module):
    """A 1-bit layer of stride 2 around which a shortcut takes every second pixel and adds channels of zeros."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = BinaryConv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.bn(self.conv(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))


@pytest.mark.parametrize('format', FORMATS[1:])
def test_a_strided_shortcut_without_parameters_is_exported(format, tmp_path):
    pytest.importorskip(PACKAGES.get(format, 'torch'))
    torch.manual_seed(0)
    net, x = trained(OptionA()), torch.randn(2, 4, 9, 12)
    path = export(net, format, x.shape, path=tmp_path / f'net{ENGINES[format].suffix}')
    with torch.no_grad():
        want = net(x).numpy()
    np.testing.assert_allclose(Session(path, threads=1)(x)[0], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [np.uint8, np.int64])
def test_pixels_are_refused_as_by_a_real_convolution(written, dtype):
    with pytest.raises(InputError, match=f'takes normalised images, not {np.dtype(dtype)}: '):
        Session(written[1])(np.ones(SHAPE, dtype))


@pytest.mark.parametrize(
    'batch',
    [np.full(SHAPE, np.nan, np.float32), np.full(SHAPE, -np.inf, np.float16), np.full(SHAPE, 1e300)],
    ids=['nan', 'infinite', 'beyond float32'],
)
def test_numbers_that_are_none_are_refused(written, batch):
    """Engines make of them large numbers, other classes, or NaN as PyTorch does."""
    with pytest.raises(InputError, match=r'^the batch holds NaN or infinite numbers'):
        Session(written[1])(batch)


@pytest.mark.parametrize('format', FORMATS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_networks_and_images_in_other_precisions_are_taken(format, dtype, net, tmp_path):
    """The exported network is the one that the numbers given say, in float64; the cast is told once."""
    pytest.importorskip(PACKAGES.get(format, 'torch'))
    given = copy.deepcopy(net).to(dtype)
    for parameter in given.parameters():
        parameter.requires_grad_()
    path = tmp_path / f'net{ENGINES[format].suffix}'
    name = str(dtype).removeprefix('torch.')
    with pytest.warns(UserWarning, match=f'^BiRealClassifier has {name} numbers; it is exported in float32$') as told:
        export(given, format, SHAPE, path=path, **OPTIONS.get(format, {}))
    assert len([warning for warning in told if warning.category is UserWarning]) == 1
    assert {parameter.dtype for parameter in given.parameters()} == {dtype}
    x = torch.randn(SHAPE, requires_grad=True).to(dtype)
    with torch.no_grad():
        want = copy.deepcopy(given).double()(x.double()).numpy()
    (got,) = Session(path, threads=1)(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_tiny_latent_weights_in_float64_keep_their_sign(tmp_path):
    net = copy.deepcopy(trained(BiRealClassifier(BiRealResNet(18, **BACKBONE), 10))).double()
    for module in net.modules():
        if isinstance(module, BinaryConv2d):
            module.weight.data.mul_(1e-60)
    with pytest.warns(UserWarning, match='float64'):
        path = export(net, 'packed', SHAPE, path=tmp_path / 'net.safetensors', config=CONFIG)
    x = torch.randn(SHAPE)
    with torch.no_grad():
        np.testing.assert_allclose(Session(path)(x)[0], net(x.double()).numpy(), rtol=1e-4, atol=1e-4)


class TwoInputs(nn.Module):
    """A network of two images: 1-bit layers of each, and a sum."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(BinaryConv2d(channels, 8, 3, padding=1, bias=False) for channels in (4, 6))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))

    def forward(self, left, right):
        return [self.norms[0](self.convs[0](left)) + self.norms[1](self.convs[1](right)) * 2, left.mean(1)]


@pytest.mark.parametrize('format', FORMATS[2:])
def test_networks_of_several_inputs(format, tmp_path):
    pytest.importorskip(PACKAGES.get(format, 'torch'))
    torch.manual_seed(0)
    net, shapes = trained(TwoInputs()), [(2, 4, 7, 9), (2, 6, 7, 9)]
    path = export(net, format, shapes, path=tmp_path / f'net{ENGINES[format].suffix}')
    images = [torch.randn(shape) for shape in shapes]
    with torch.no_grad():
        wanted = net(*images)
    with Session(path, threads=1) as session:
        assert len(session.others) == 1
        for got, want in zip(session(*images), wanted, strict=True):
            np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-5)
        for given, sentence in (
            (images[:1], 'the network has 2 inputs, not 1'),
            (images[::-1], r'takes numbers of shape \(\w+, 4, '),
        ):
            with pytest.raises(InputError, match=sentence):
                session(*given)
        if session.accepted[0] == 'batch':
            with pytest.raises(InputError, match='the inputs have 2 and 1 images'):
                session(images[0], images[1][:1])


@pytest.mark.parametrize('format', FORMATS[1:])
def test_a_network_of_several_inputs_without_their_shapes_is_told(format, tmp_path):
    pytest.importorskip(PACKAGES.get(format, 'torch'))
    for net in (TwoInputs().eval(), fold(TwoInputs().eval(), [(1, 4, 7, 9), (1, 6, 7, 9)])):
        with pytest.raises(InputError, match=r'TwoInputs (does not run on|cannot be traced with)'):
            export(net, format, (1, 4, 7, 9), path=tmp_path / f'net{ENGINES[format].suffix}')


@pytest.mark.parametrize('format', ENGINES)
@pytest.mark.parametrize(
    ('place', 'value', 'change'),
    [
        ('backbone.layer1.0.conv1.weight', float('nan'), copy.deepcopy),
        ('backbone.bn1.running_var', float('inf'), copy.deepcopy),
        ('fc.bias', float('nan'), fold),
    ],
)
def test_weights_that_are_no_numbers_are_refused(net, tmp_path, format, place, value, change):
    """A latent weight of NaN has a sign all the same, which the file would hold without a word."""
    broken = change(net)
    broken.state_dict()[place].flatten()[0] = value
    path = tmp_path / f'net{ENGINES[format].suffix}'
    with pytest.raises(InputError, match=rf'^{place} of the BiRealClassifier hold NaN'):
        export(broken, format, SHAPE, path=path, **OPTIONS.get(format, {}))
    assert os.listdir(tmp_path) == []


def test_an_input_larger_than_any_image_is_refused_before_memory_is_taken():
    class Large(EngineSession):
        def run(self, *batches):
            raise AssertionError

    session = Large('net.onnx')
    session.accepted = ('batch', 3, 'height', 'width')
    with pytest.raises(InputError, match=r'net.onnx takes inputs of shape \(1048576, 3, 32, 32\), which is larger'):
        session.accepted = (1048576, 3, 32, 32)
