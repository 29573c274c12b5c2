"""The U-Net head: sizes and range of its disparities, and its binary form."""

import pytest
import torch
from mmengine.registry import MODELS

from bireal_plugin import BinaryConv2d
from bireal_plugin.errors import InputError
from tests.depth.networks.test_fcn_head import CHANNELS, maps


def head(**options):
    return MODELS.build(dict(type='UNetHead', **{'in_channels': CHANNELS, 'channels': (8, 8, 8, 4, 4), **options}))


@pytest.mark.parametrize('binary', [False, True])
def test_scales_halve_from_the_size_of_the_image(binary):
    disparities = head(binary=binary)(maps((64, 96)), (64, 96))
    assert [tuple(d.shape) for d in disparities] == [(2, 1, 64 // s, 96 // s) for s in (1, 2, 4, 8)]


@pytest.mark.parametrize('size', [(375, 1242), (97, 331), (33, 65)])
def test_the_finest_scale_of_an_odd_size_is_the_image_size(size):
    assert head()(maps(size), size)[0].shape == (2, 1, *size)


def test_evaluation_computes_the_finest_scale_of_training_alone():
    built = head()
    for output in built.outputs:
        torch.nn.init.normal_(output.weight)
    finest = built(maps((64, 96)), (64, 96))[0]
    (alone,) = built.eval()(maps((64, 96)), (64, 96))
    assert torch.equal(alone, finest)


def test_fewer_steps_end_at_a_fraction_of_the_size():
    (disparity,) = head(channels=(8, 8, 4), scales=1)(maps((64, 96)), (64, 96))
    assert disparity.shape == (2, 1, 16, 24)


def test_an_untrained_head_answers_the_initial_fraction_of_the_width():
    for disparity in head(initial_fraction=0.05)(maps((64, 96)), (64, 96)):
        torch.testing.assert_close(disparity, torch.full_like(disparity, 0.05 * 96))


@pytest.mark.parametrize('sign', [1, -1])
def test_disparity_stays_within_its_fraction_of_the_width(sign):
    built = head(max_fraction=0.25)
    for output in built.outputs:
        torch.nn.init.constant_(output.bias, sign * 100.0)
    disparity = built(maps((64, 96)), (64, 96))[0]
    torch.testing.assert_close(disparity, torch.full_like(disparity, 24.0 if sign > 0 else 0.0))


@pytest.mark.parametrize(('binary', 'count'), [(False, 0), (True, 5)])
def test_binary_steps_and_real_outputs(binary, count):
    built = head(binary=binary)
    assert sum(isinstance(module, BinaryConv2d) for module in built.modules()) == count
    assert not any(isinstance(output, BinaryConv2d) for output in built.outputs)


@pytest.mark.parametrize('options', [dict(channels=(8, 8)), dict(scales=6), dict(scales=0)])
def test_too_few_steps_are_refused(options):
    with pytest.raises(InputError, match='must have a step for each'):
        head(**options)


def test_fractions_out_of_order_are_refused():
    with pytest.raises(InputError, match=r'initial_fraction=0\.4'):
        head(initial_fraction=0.4)
