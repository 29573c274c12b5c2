"""Networks so small that a page answers at once."""

import numpy as np
from PIL import Image

from bireal_plugin.app.answers import Networks
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.shipping.classification import Classifier, Preparation
from tests.depth.tiny_depth import file_of, tiny_depth

TRANSFORM = dict(type='ShorterSideCenterCrop', shorter_side=8, crop=8)
RED_GREEN_BLUE = ('red', 'green', 'blue')


def by_colour(images):
    """Logits of the colours: means of the channels."""
    return [images.mean((2, 3))]


def tiny_networks(folder):
    preparation = Preparation(TRANSFORM, (8, 8), (0.0,) * 3, (25.5,) * 3, RED_GREEN_BLUE)
    classifier = Classifier(by_colour, preparation, batch=1, source='colours')
    return Networks(classifier, Predictor(file_of(tiny_depth(folder), 'packed', folder)))


def photograph(folder, colour, size=(96, 64), **options):
    """A noisy photograph (W, H) of a colour."""
    noise = np.random.default_rng(0).integers(-20, 20, (size[1], size[0], 3))
    pixels = np.clip(np.array(dict(red=(200, 40, 40), green=(40, 200, 40), blue=(40, 40, 200))[colour]) + noise, 0, 255)
    path = folder / f'{colour}.jpg'
    Image.fromarray(pixels.astype(np.uint8)).save(path, **options)
    return path
