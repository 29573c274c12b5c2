"""An artefact that is right passes, and one that is wrong anywhere is caught by the measurement that should."""

import copy
import functools
import os
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export import export, fold
from bireal_plugin.export.engines import ENGINES, engine_of
from bireal_plugin.export.packed.file import PackedSession
from bireal_plugin.folding.layers import FoldedBinaryConv2d
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from bireal_plugin.shipping.artefacts import mark_all, verification_table
from bireal_plugin.shipping.compare import both_sides, compare_layers, fused_error, inputs_apart
from bireal_plugin.shipping.limits import FUSED_LIMIT, LAYER_LIMIT, REAL_LIMIT, Artefact
from bireal_plugin.shipping.verify import Batch, mark, verify
from tests.export.c.compilers import needs_compiler
from tests.export.tflite.test_binary import needs_larq
from tests.folding.test_fold import trained

SHAPE = (2, 1, 16, 16)
BACKBONE = dict(base_channels=4, in_channels=1, stem='cifar', num_stages=2, out_indices=(1,))
CONFIG = dict(
    type='BiRealClassifier',
    backbone=dict(type='BiRealResNet', depth=18, **BACKBONE),
    num_classes=10,
)
C = pytest.param('c', marks=needs_compiler)
NEEDED = dict(openvino='openvino', onnx='onnxruntime', qonnx='qonnx', tflite='tflite')


@functools.cache
def folded(seed, **options):
    torch.manual_seed(seed)
    return fold(trained(BiRealClassifier(BiRealResNet(18, **BACKBONE, **options), 10), seed), SHAPE)


def classifier(seed=0, **options):
    net = copy.deepcopy(folded(seed, **options))
    torch.manual_seed(seed)
    return net


def written(model, format, folder, shape=SHAPE):
    if format in NEEDED:
        pytest.importorskip(NEEDED[format])
    options = dict(config=CONFIG) if format == 'packed' else {}
    return Artefact(export(model, format, shape, path=folder / f'net{ENGINES[format].suffix}', **options), format)


def tapped(path, choice=both_sides, **options):
    return engine_of(path).session.tap(path, choice, **options)


def images(count=4, shape=SHAPE, labels=None):
    generator = np.random.default_rng(0)
    return [Batch(generator.normal(size=shape).astype(np.float32), shape[0], labels) for _ in range(count)]


@pytest.mark.parametrize('format', ['packed', C, 'openvino', 'onnx', 'qonnx'])
def test_a_right_artefact_passes(format, tmp_path):
    net = classifier()
    (found,) = verify([written(net, format, tmp_path)], net, images())
    assert found.reasons == ()
    assert found.agreement == 1
    assert found.layers.layer_share < 1e-6
    assert found.layers.real_share < 1e-5
    assert found.milliseconds > 0


@pytest.mark.parametrize('format', ['packed', C, 'openvino'])
@pytest.mark.parametrize('part', ['weight', 'sign of a scale', 'bias', 'stem', 'classifier'])
def test_a_wrong_tensor_anywhere_is_caught(format, part, tmp_path):
    """One bit of one weight in the third 1-bit layer, one number of its affine map, or a real layer."""
    net, wrong = classifier(), classifier()
    layer = [module for module in wrong.modules() if isinstance(module, FoldedBinaryConv2d)][2]
    channel = int(layer.scale.abs().argmax())
    if part == 'weight':
        layer.packed_weight[channel, 1, 1, 0] ^= 2
    elif part == 'sign of a scale':
        layer.scale[channel] *= -1
    elif part == 'bias':
        layer.bias[channel] += 0.5
    elif part == 'stem':
        wrong.backbone.conv1.bias.data[0] += 0.5
    else:
        wrong.fc.weight.data *= 1.01
    (found,) = verify([written(wrong, format, tmp_path)], net, images())
    assert not found.passed
    assert (found.layers.layer_share > LAYER_LIMIT['f32']) == (part == 'weight')


def test_images_are_sure_by_the_probability_that_the_network_gives(tmp_path):
    shape, net = (8, 1, 32, 32), classifier()
    net.fc.weight.data *= 7
    (batch,) = images(shape=shape)[:1]
    with torch.no_grad():
        probabilities = net(torch.from_numpy(batch.images)).softmax(1).amax(1).numpy()
    path = export(net, 'onnx', shape, path=tmp_path / 'net.onnx')
    for labels in (None, np.zeros(8, int)):
        (row,) = verify([Artefact(path, 'onnx')], net, [Batch(batch.images, 8, labels)])
        assert 0 < row.sure_images == (probabilities >= 0.9).sum() < 8
        assert row.sure_agreement == 1.0
        assert ('  sure  ' in verification_table([row])) == (labels is None)


@needs_compiler
def test_int8_is_judged_by_all_values_but_the_few_that_it_cuts_off(tmp_path):
    shape = (4, 1, 32, 32)
    net, wrong = classifier(), classifier()
    wrong.backbone.conv1.bias.data[0] += 3
    batches = images(shape=shape)
    calibration = [batch.images.copy() for batch in batches]
    batches[0].images[0, 0, 3, 4] = 12  # beyond what was calibrated
    found = {}
    for name, model in dict(right=net, wrong=wrong).items():
        path = export(model, 'c', shape, path=tmp_path / f'{name}.c', calibration=calibration)
        (found[name],) = verify([Artefact(path, 'c', 'int8')], net, batches)
    assert found['right'].layers.real_share > 0.2
    assert found['right'].layers.usual_share < REAL_LIMIT['int8']
    assert found['wrong'].layers.usual_share > REAL_LIMIT['int8']
    sentences = {name: [text for text in row.reasons if 'between 1-bit layers' in text] for name, row in found.items()}
    assert {name: len(texts) for name, texts in sentences.items()} == dict(right=0, wrong=1)
    assert f'{found["right"].layers.usual_share:.1e}' in verification_table([found['right']])  # what was judged


@pytest.mark.parametrize('format', [C, 'openvino', 'onnx'])
@pytest.mark.parametrize(
    'options', [dict(structure='plain', rsign=True, rprelu=True), dict(structure='resnet', rprelu=True)]
)
def test_layers_are_recognised_where_engines_fuse_their_affine_maps(format, options, tmp_path):
    net = classifier(**options)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if 'shift' in name or 'rprelu' in name:
                value.normal_()
    session = tapped(written(net, format, tmp_path).path, threads=1)
    found = compare_layers(net, [batch.images for batch in images()], session)
    assert len(found.order) == 8
    assert max(found.layer_share, found.real_share) < 1e-5


class Branches(nn.Module):
    """1-bit layers side by side: two of the same input, and one behind the first."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(BinaryConv2d(32, 32, 3, padding=1, bias=False) for _ in range(3))

    def forward(self, x):
        first = self.layers[0](x)
        return self.layers[2](first) - 1, self.layers[1](x), first


@pytest.mark.parametrize('format', [C, 'openvino', 'onnx', 'qonnx'])
def test_layers_are_told_apart_whatever_order_the_engine_has(format, tmp_path):
    torch.manual_seed(0)
    net = fold(Branches(), (1, 32, 9, 9))
    artefact = written(net, format, tmp_path, (1, 32, 9, 9))
    (found,) = verify([artefact], net, images(shape=(1, 32, 9, 9)))
    assert found.reasons == ()
    assert sorted(found.layers.order) == [0, 1, 2]


def test_flips_are_counted_against_the_reference_running_by_itself(tmp_path):
    net, other = classifier(), classifier()
    with torch.no_grad():
        other.backbone.conv1.bias += 0.01
    session = tapped(written(other, 'packed', tmp_path).path)
    batch = images(1)[0].images

    def signs(model):
        seen = []
        handles = [
            module.register_forward_hook(lambda _, given, __: seen.append(given[0].numpy() >= 0))
            for module in model.modules()
            if isinstance(module, FoldedBinaryConv2d)
        ]
        with torch.no_grad():
            model(torch.from_numpy(batch))
        for handle in handles:
            handle.remove()
        return np.concatenate([array.ravel() for array in seen])

    found = compare_layers(net, [batch], session)
    assert found.flips == int((signs(net) != signs(other)).sum()) > 0
    assert found.signs == signs(net).size


@pytest.mark.parametrize('start', [0, 1, 2])
def test_errors_of_layers_that_are_not_read_show_behind_them(start, tmp_path):
    """As an engine's that is wrong only where nothing is read: here in one layer, whichever are read."""
    net, wrong = classifier(), classifier()
    layer = [module for module in wrong.modules() if isinstance(module, FoldedBinaryConv2d)][4]
    layer.packed_weight.bitwise_not_()
    batch = [images(1)[0].images]
    places = {place: place // 3 for place in range(start, 8, 3)}
    choice = partial(inputs_apart, start=start, step=3)
    for model, low, high in ((net, 0, 1e-5), (wrong, FUSED_LIMIT['f32'], 10)):
        session = tapped(written(model, 'packed', tmp_path).path, choice)
        assert low <= fused_error(net, batch, session, places=places) < high


def test_agreement_and_top1_are_shares_of_images(tmp_path):
    net, other = classifier(0), classifier(1)
    batches = images(6, labels=np.array([3, 7]))
    (found,) = verify([written(other, 'packed', tmp_path)], net, batches)
    with torch.no_grad():
        classes = [
            np.concatenate([model(torch.from_numpy(batch.images)).argmax(1).numpy() for batch in batches])
            for model in (other, net)
        ]
    labels = np.tile([3, 7], 6)
    assert found.agreement == np.mean(classes[0] == classes[1])
    assert (found.top1, found.reference_top1) == (np.mean(classes[0] == labels), np.mean(classes[1] == labels))


def test_images_that_fill_up_a_batch_do_not_count(tmp_path):
    net = classifier()
    batch = images(1)[0]
    (found,) = verify([written(net, 'packed', tmp_path)], net, [Batch(batch.images, 1, np.array([0]))])
    with torch.no_grad():
        assert found.top1 == float(net(torch.from_numpy(batch.images[:1])).argmax() == 0)


def test_feature_maps_are_measured_by_their_size_and_signs(tmp_path):
    options = {**BACKBONE, 'out_indices': (0, 1)}
    backbone = dict(type='BiRealResNet', depth=18, **options)
    net, other = (fold(trained(BiRealResNet(18, **options), seed), SHAPE) for seed in (0, 1))
    path = export(other, 'packed', SHAPE, path=tmp_path / 'net.safetensors', config=backbone)
    batch = images(1)[0]
    (found,) = verify([Artefact(path, 'packed')], net, [batch])
    with torch.no_grad():
        both = [model(torch.from_numpy(batch.images)) for model in (other, net)]
        pairs = [(a.numpy(), b.numpy()) for a, b in zip(*both, strict=True)]
    errors = [np.linalg.norm((a - b).ravel()) / np.linalg.norm(b.ravel()) for a, b in pairs]
    assert found.feature_error == pytest.approx(max(errors), rel=1e-4)
    flips = np.concatenate([((a >= 0) != (b >= 0)).ravel() for a, b in pairs])
    assert found.output_flips == pytest.approx(flips.mean())
    assert found.agreement is None
    assert any('features are wrong' in reason for reason in found.reasons)


def test_a_single_output_is_compared_as_a_number(tmp_path):
    """Among the classes of one column all images would agree."""
    net, other = (fold(trained(BiRealClassifier(BiRealResNet(18, **BACKBONE), 1), seed), SHAPE) for seed in (0, 1))
    path = export(other, 'packed', SHAPE, path=tmp_path / 'net.safetensors', config=dict(CONFIG, num_classes=1))
    (found,) = verify([Artefact(path, 'packed')], net, images())
    assert found.agreement is None
    assert found.feature_error > 0.5


def test_an_overflow_is_a_failure(tmp_path):
    net, broken = classifier(), classifier()
    with torch.no_grad():
        broken.fc.weight.fill_(3e38)
    (found,) = verify([written(broken, 'openvino', tmp_path)], net, images())
    assert found.reasons == ('an output is NaN or infinite',)


def test_another_network_is_a_failure_with_a_reason(tmp_path):
    net = classifier()
    other = fold(trained(BiRealClassifier(BiRealResNet(34, **BACKBONE), 10)), SHAPE)
    pytest.importorskip('openvino')
    (found,) = verify([written(other, 'openvino', tmp_path)], net, images())
    assert any('1-bit layer' in reason for reason in found.reasons)


def test_a_truncated_file_fails_and_the_others_are_still_measured(tmp_path):
    net = classifier()
    artefact = written(net, 'packed', tmp_path)
    cut = Artefact(tmp_path / 'cut.safetensors', 'packed')
    cut.path.write_bytes(artefact.path.read_bytes()[:-10])
    failed, passed = verify([cut, artefact], net, images())
    assert 'truncated' in failed.reasons[0]
    assert passed.passed


class Crashing(PackedSession):
    """A session whose engine reads foreign memory."""

    def run(self, batch):
        os.kill(os.getpid(), signal.SIGSEGV)


class CrashingWithin(PackedSession):
    """A session that runs, and whose engine ends its process where tensors are read."""

    @classmethod
    def tap(cls, path, choice, **options):
        os.abort()


@pytest.mark.parametrize(('session', 'name'), [(Crashing, 'SIGSEGV'), (CrashingWithin, 'SIGABRT')])
def test_a_crash_is_a_row_and_a_mark_and_the_others_are_still_measured(session, name, tmp_path, monkeypatch):
    net = classifier()
    first = written(net, 'packed', tmp_path)
    second = Artefact(tmp_path / 'other.safetensors', 'crashing')
    second.path.write_bytes(first.path.read_bytes())
    monkeypatch.setitem(ENGINES, 'crashing', replace(ENGINES['packed'], session=session))
    crashed, passed = verify([second, first], net, images())
    assert passed.passed
    assert crashed.crashed
    assert crashed.reasons == (f'{second.path} crashed: its process ended with signal {name}',)
    assert [line.split()[-1] for line in verification_table([crashed, passed]).splitlines()[2:4]] == [
        'crashed',
        'verified',
    ]
    mark_all([crashed, passed])
    assert name in (tmp_path / 'other.safetensors.unverified').read_text()
    assert not (tmp_path / 'net.safetensors.unverified').exists()


def test_no_images_is_a_mistake(tmp_path):
    net = classifier()
    with pytest.raises(InputError, match='no images to verify on'):
        verify([written(net, 'packed', tmp_path)], net, [])


def test_the_mark_holds_the_reasons_and_goes_when_there_are_none(tmp_path):
    path = tmp_path / 'net.onnx'
    assert mark(path, ['one', 'two']) == tmp_path / 'net.onnx.unverified'
    assert (tmp_path / 'net.onnx.unverified').read_text() == 'one\ntwo\n'
    assert mark(path, []) is None
    assert list(tmp_path.iterdir()) == []


def test_reading_tensors_leaves_the_artefact_alone(tmp_path):
    artefact = written(classifier(), 'packed', tmp_path)
    before = artefact.path.read_bytes()
    outputs, tensors = tapped(artefact.path, both_sides)(images(1)[0].images)
    assert (len(outputs), len(tensors)) == (1, 16)
    assert artefact.path.read_bytes() == before


@pytest.mark.parametrize('stride', [1, 2])
@needs_larq
def test_tflite_layers_are_read_and_right(stride, tmp_path):
    """Strides and groups have forms of several operators there."""
    pytest.importorskip('tflite')
    layers = [
        BinaryConv2d(32, 32, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(32),
        BinaryConv2d(32, 32, 3, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(32),
        BinaryConv2d(32, 16, 1, bias=False),
        nn.BatchNorm2d(16),
    ]
    net = fold(trained(nn.Sequential(*layers)), (1, 32, 9, 10))
    path = written(net, 'tflite', tmp_path, (1, 32, 9, 10)).path
    batch = images(1, (1, 32, 9, 10))[0].images
    found = compare_layers(net, [batch], tapped(path, threads=1))
    assert max(found.layer_share, found.real_share) < 1e-5
