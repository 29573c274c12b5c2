"""Garg's loss, against its formula written out in numpy."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from bireal_plugin.depth.losses import edge_aware_smoothness, warp_error


def stereo(*, seed=0, size=(6, 14)):
    """Disparity in [1, 4] px, left and right image, float64."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 2, 3, *size, generator=generator, dtype=torch.float64)
    disparity = 1 + 3 * torch.rand(2, 1, *size, generator=generator, dtype=torch.float64)
    return disparity, images[0], images[1]


def expected_warp_error(disparity, left, right):
    errors = []
    width = left.shape[-1]
    for n, c, y, x in np.ndindex(*left.shape):
        source = x - float(disparity[n, 0, y, x])
        if 0 <= source <= width - 1:
            errors.append(abs(np.interp(source, np.arange(width), right[n, c, y].numpy()) - float(left[n, c, y, x])))
    return np.mean(errors)


def expected_smoothness(disparity, image, edge):
    d, i = disparity.numpy(), image.numpy()
    total = 0.0
    for axis in (2, 3):
        weight = np.exp(-edge * np.abs(np.diff(i, axis=axis)).sum(1, keepdims=True))
        total += np.mean(weight * np.abs(np.diff(d, axis=axis)))
    return total


@pytest.mark.parametrize('smoothness', [0.0, 0.05])
def test_loss_is_the_warp_error_and_the_weighted_smoothness(smoothness):
    disparity, left, right = stereo()
    terms = MODELS.build(dict(type='GargLoss', smoothness=smoothness))([disparity], left, right)
    assert terms['loss_warp'].item() == pytest.approx(expected_warp_error(disparity, left, right), rel=1e-9)
    smooth = expected_smoothness(disparity, left, 0.33)
    assert terms['loss_smoothness'].item() == pytest.approx(smoothness * smooth, rel=1e-9)


def test_an_edge_of_the_image_lifts_the_penalty_there_alone():
    disparity = torch.zeros(1, 1, 4, 8)
    disparity[..., 4:] = 1.0
    blank, step = torch.zeros(1, 3, 4, 8), torch.zeros(1, 3, 4, 8)
    step[..., 4:] = 1.0
    flat = edge_aware_smoothness(disparity, blank, edge=0.33)
    assert flat.item() == pytest.approx(1 / 7)
    assert edge_aware_smoothness(disparity, step, edge=0.33).item() == pytest.approx(np.exp(-0.99) / 7)


@pytest.mark.parametrize('seed', [1, 2])
def test_gradient_to_the_disparity_is_right(seed):
    disparity, left, right = stereo(seed=seed, size=(3, 9))
    loss = MODELS.build(dict(type='GargLoss'))
    assert torch.autograd.gradcheck(lambda d: sum(loss([d], left, right).values()), disparity.requires_grad_())


def test_the_true_disparity_has_the_least_warp_error():
    left = torch.rand(1, 3, 8, 40)
    right = torch.roll(left, -5, dims=-1)
    errors = {d: warp_error(torch.full((1, 1, 8, 40), float(d)), left, right).item() for d in range(-8, 12)}
    assert min(errors, key=errors.get) == 5
    assert errors[5] < 1e-5
