"""Real layers in 8 bits: each is the rounding that is written down here again, and whole networks stay near."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.engine import CSession, convert, export_c
from bireal_plugin.folding.fold import fold
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.export.c.compilers import needs_compiler
from tests.folding.test_fold import trained

SHAPE = (2, 3, 16, 15)


@pytest.fixture(scope='module')
def calibration():
    return [np.random.default_rng(i).standard_normal(SHAPE, np.float32) for i in range(4)]


@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    options = dict(base_channels=16, stem='cifar', num_stages=2, out_indices=(1,))
    return fold(trained(BiRealClassifier(BiRealResNet(18, **options), 10)), SHAPE)


def rounded(x, low, high):
    """``x`` in 254 steps from ``low`` to ``high``, of which one is 0."""
    scale = np.float32((high - low) / 254)
    zero = round(-127 - low / float(scale))
    q = torch.clamp(torch.round(x * float(np.float32(1) / scale)) + zero, -127, 127)
    return (q - zero).double() * float(scale)


def rounded_weight(weight):
    scale = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True) / 127
    return torch.round(weight / scale).double() * scale.double()


def extremes(images):
    """The means over images of the smallest and the largest number in each, and 0."""
    each = np.concatenate(images)
    low, high = (np.mean([reduce(image) for image in each]) for reduce in (np.min, np.max))
    return min(float(low), 0), max(float(high), 0)


@needs_compiler
@pytest.mark.parametrize(
    'options',
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=5, stride=2, padding=2, bias=False),
        dict(kernel_size=1),
        dict(kernel_size=3, padding=(0, 2), dilation=(1, 2)),
    ],
)
@pytest.mark.parametrize('shift', [0.0, 2.5])
def test_a_convolution_is_its_rounding(options, shift, calibration, tmp_path):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 20, **options)
    images = [np.abs(batch) + np.float32(shift) if shift else batch for batch in calibration]
    path = export_c(conv, tmp_path / 'net.c', SHAPE, calibration=images)
    x = torch.from_numpy(images[0]) * 1.5  # some of it is beyond the range
    (got,) = CSession(path, threads=1)(x)
    bias = None if conv.bias is None else conv.bias.double()
    geometry = (conv.stride, conv.padding, conv.dilation)
    want = F.conv2d(rounded(x, *extremes(images)), rounded_weight(conv.weight), bias, *geometry).detach().numpy()
    np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


def test_convolutions_and_the_classifier_run_in_int8_and_nothing_else_does(net, calibration):
    found = [call.kernel for call in convert(net, SHAPE, calibration).calls]
    assert (found.count('quantize'), found.count('conv_int8'), found.count('conv')) == (3, 3, 0)
    assert [kernel for kernel in found if kernel not in ('quantize', 'conv_int8')] == [
        call.kernel for call in convert(net, SHAPE).calls if call.kernel != 'conv'
    ]


def test_groups_stay_in_float32(calibration):
    net = nn.Conv2d(3, 6, 3, groups=3)
    assert [call.kernel for call in convert(net, SHAPE, calibration).calls] == ['conv']


def test_a_dead_input_is_no_division_by_zero(tmp_path):
    zeros = [np.zeros(SHAPE, np.float32)]
    assert export_c(nn.Conv2d(3, 6, 3), tmp_path / 'net.c', SHAPE, calibration=zeros).is_file()


@needs_compiler
def test_predictions_stay_near(net, calibration, tmp_path):
    x = torch.from_numpy(np.concatenate(calibration))
    with CSession(export_c(net, tmp_path / 'net.c', SHAPE, calibration=calibration), threads=1) as session:
        (got,) = session(x)
    want = net(x).numpy()
    assert np.linalg.norm(got - want) < 0.3 * np.linalg.norm(want)
    assert (got.argmax(1) == want.argmax(1)).mean() >= 0.75


@pytest.mark.parametrize(
    ('batches', 'sentence'),
    [
        ([], 'need calibration images, and there are none'),
        ([np.zeros((2, 3, 8, 8))], r'a calibration batch has the shape \(2, 3, 8, 8\); the network was exported for'),
    ],
)
def test_wrong_calibration_is_told(batches, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        export_c(nn.Conv2d(3, 6, 3), tmp_path / 'net.c', SHAPE, calibration=batches)
