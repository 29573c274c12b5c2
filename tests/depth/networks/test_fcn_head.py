"""Garg's skip head: the sum it computes, odd sizes, and what it answers before training."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from bireal_plugin.depth.networks.heads import upsampled
from bireal_plugin.errors import InputError

CHANNELS = (4, 6, 8, 10)


def maps(size):
    """Feature maps of strides 4 to 32, halves rounded up as a padded convolution does."""
    sizes = [tuple(-(-side // stride) for side in size) for stride in (4, 8, 16, 32)]
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, *s, generator=generator) for c, s in zip(CHANNELS, sizes, strict=True)]


def head(**options):
    torch.manual_seed(0)
    built = MODELS.build(dict(type='FCNSkipHead', in_channels=CHANNELS, **options))
    for score in built.scores:
        torch.nn.init.normal_(score.weight)
        torch.nn.init.normal_(score.bias)
    return built


def test_disparity_is_the_sum_of_scaled_scores():
    built = head(factors=(0.5, 0.25, 0.125))
    features = maps((64, 96))
    scores = [F.conv2d(x, score.weight, score.bias) for x, score in zip(features, built.scores, strict=True)]

    def twice(x):
        return 2 * F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)

    expected = twice(twice(twice(scores[3]) + 0.5 * scores[2]) + 0.25 * scores[1]) + 0.125 * scores[0]
    expected = 4 * F.interpolate(expected, scale_factor=4, mode='bilinear', align_corners=False)
    (disparity,) = built(features, (64, 96))
    torch.testing.assert_close(disparity, expected)


@pytest.mark.parametrize('size', [(160, 608), (375, 1242), (97, 331), (33, 65)])
def test_an_untrained_head_answers_the_initial_disparity_at_every_size(size):
    built = MODELS.build(dict(type='FCNSkipHead', in_channels=CHANNELS, initial_disparity=12.0))
    (disparity,) = built(maps(size), size)
    assert disparity.shape == (2, 1, *size)
    # The bias is a 32nd of it; the coarsest map of an odd size is a little wider than a 32nd.
    expected = 12.0 * size[1] / 32 / -(-size[1] // 32)
    torch.testing.assert_close(disparity, torch.full_like(disparity, expected))


def test_enlarging_keeps_a_disparity_a_fraction_of_the_width():
    assert upsampled(torch.full((1, 1, 3, 5), 2.0), (7, 20)).unique().tolist() == [8.0]


def test_factors_start_as_in_the_paper_and_are_learned():
    built = head()
    assert built.factors.tolist() == pytest.approx([1e-2, 1e-4, 1e-5])
    built(maps((64, 96)), (64, 96))[0].sum().backward()
    assert (built.factors.grad != 0).all()


def test_too_few_factors_are_refused():
    with pytest.raises(InputError, match='3 finer stages need a factor each'):
        head(factors=(1e-2,))
