"""Averaging over an image and its mirror image."""

import numpy as np

from bireal_plugin.depth.inference.predictor import flip_averaged

IMAGE = np.random.default_rng(0).integers(1, 256, (6, 8, 3), np.uint8)


def brightness(image):
    """A network that treats a mirror image as the mirror image."""
    return image.mean(2, dtype=np.float32)


def slanted(image):
    """A network with a bias to the left."""
    return brightness(image) + np.arange(image.shape[1], dtype=np.float32)


def test_a_network_without_a_side_is_confirmed_by_the_mirror_image():
    disparity, confidence = flip_averaged(brightness, IMAGE)
    np.testing.assert_allclose(disparity, brightness(IMAGE), rtol=1e-6)
    np.testing.assert_allclose(confidence, 1, rtol=1e-6)


def test_mean_and_relative_disagreement_of_both():
    disparity, confidence = flip_averaged(slanted, IMAGE)
    a, b = slanted(IMAGE), brightness(IMAGE) + np.arange(8)[::-1]
    np.testing.assert_allclose(disparity, (a + b) / 2, rtol=1e-6)
    np.testing.assert_allclose(confidence, 1 - abs(a - b) / np.maximum(a, b), rtol=1e-5)


def test_there_is_no_confidence_in_a_disparity_that_is_not_positive():
    _, confidence = flip_averaged(lambda image: np.full((6, 8), -1, np.float32), IMAGE)
    assert (confidence == 0).all()
