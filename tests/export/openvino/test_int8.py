import numpy as np
import pytest
import torch

from bireal_plugin.errors import InputError
from bireal_plugin.folding.fold import fold
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.folding.test_fold import trained

pytest.importorskip('nncf')
from bireal_plugin.export.openvino import engine as openvino_engine
from bireal_plugin.export.openvino.engine import OpenVINOSession, convert, export_openvino, quantize_real_layers

SHAPE = (4, 3, 64, 64)


@pytest.fixture(scope='module')
def net():
    return fold(trained(BiRealClassifier(BiRealResNet(18, base_channels=32, out_indices=(3,)), 10)))


@pytest.fixture(scope='module')
def calibration():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator).numpy() for _ in range(4)]


@pytest.fixture(scope='module')
def quantized(net, calibration):
    return quantize_real_layers(convert(net, SHAPE), calibration)


@pytest.fixture(scope='module')
def files(net, calibration, tmp_path_factory):
    """Files with real layers in float32 and in int8."""
    folder = tmp_path_factory.mktemp('int8')
    small = export_openvino(net, folder / 'int8.xml', SHAPE, calibration=calibration)
    return export_openvino(net, folder / 'real.xml', SHAPE), small


def layers(session):
    """``{layer type: {precisions}}`` of what really runs."""
    found = {}
    for node in session.compile(SHAPE).get_runtime_model().get_ops():
        info = node.get_rt_info()
        found.setdefault(info['layerType'].astype(str), set()).add(info['runtimePrecision'].astype(str))
    return found


@pytest.mark.parametrize('saved', [False, True])
def test_convolutions_and_the_classifier_run_in_int8_and_nothing_else_does(saved, quantized, files):
    ran = layers(OpenVINOSession(files[1] if saved else quantized, threads=1))
    assert ran['Convolution'] <= {'i8', 'u8'}
    assert 'FullyConnected' not in ran  # the classifier is a convolution there
    assert ran['BinaryConvolution'] == {'u1'}
    assert ran['Pooling'] == {'f32'}
    assert 'Eltwise' not in ran


def test_the_stem_is_its_int8_rounding(calibration):
    """Against a quantization written out: 8 bits per tensor for the input, 7 per channel for the weight.

    With weights of 8 bits, CPUs without VNNI give other numbers. NNCF corrects the bias a little.
    """
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 16, 7, 2, 3).eval()
    model = quantize_real_layers(convert(conv, SHAPE), calibration)
    got = OpenVINOSession(model, threads=1)(calibration[0])[0]
    x, weight = torch.from_numpy(calibration[0]), conv.weight.detach()
    scale = weight.abs().amax((1, 2, 3), keepdim=True) / 63.5
    quantizer = next(node for node in model.get_ops() if node.get_type_name() == 'FakeQuantize')
    low, high = (float(quantizer.input_value(place).get_node().data.item()) for place in (1, 2))
    assert -low == pytest.approx(max(np.abs(batch).max() for batch in calibration), rel=0.05)
    step = (high - low) / 255
    x, weight = (x / step).round().clamp(-128, 127) * step, (weight / scale).round().clamp(-63, 63) * scale
    bias = got - torch.nn.functional.conv2d(x, weight, None, 2, 3).numpy()
    spread = np.ptp(bias, (0, 2, 3))
    assert np.median(spread) < 1e-5
    assert spread.max() < 2 * 5 * float(scale.max())  # one weight that lies between two steps, times the largest inputs
    np.testing.assert_allclose(bias.mean((0, 2, 3)), conv.bias.detach().numpy(), atol=0.01)


def test_the_file_holds_int8_weights(net, files):
    real, small = (path.with_suffix('.bin').stat().st_size for path in files)
    weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    assert real - small == pytest.approx(3 * weights, rel=0.1)


def test_predictions_stay_near(net, quantized):
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(9))
    got = OpenVINOSession(quantized, threads=1)(x)[0]
    with torch.no_grad():
        want = net(x).numpy()
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ('batches', 'sentence'),
    [([], 'there are none'), ([np.zeros((1, 3, 64, 64))], r'has the shape \(1, 3, 64, 64\); the network was exported')],
)
def test_mistakes_are_told(net, batches, sentence):
    with pytest.raises(InputError, match=sentence):
        quantize_real_layers(convert(net, SHAPE), batches)


def test_nncf_alone_keeps_every_1_bit_layer_of_an_exported_file(files, calibration, tmp_path):
    import nncf
    import openvino

    # OpenVINO 2026.4.1 compiles additions of int8 for AVX-512; for AVX2 it reads through a null pointer.
    scope = nncf.IgnoredScope(types=['Add'])
    core = openvino_engine.core()
    quantized = nncf.quantize(core.read_model(str(files[0])), nncf.Dataset(calibration), ignored_scope=scope)
    openvino.save_model(quantized, str(tmp_path / 'int8.xml'))
    stored = core.read_model(str(tmp_path / 'int8.xml'))
    assert sum(node.get_type_name() == 'BinaryConvolution' for node in stored.get_ops()) == 16
    compiled = core.compile_model(stored, 'CPU')
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    ran = {}
    for info in infos:
        ran.setdefault(info['layerType'].astype(str), set()).add(info['runtimePrecision'].astype(str))
    assert ran['BinaryConvolution'] == {'u1'}
    assert ran['Convolution'] <= {'i8', 'u8'}
