"""Scikit-learn's handwritten digits: 1797 images that come with the library and need no download."""

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from PIL import Image

from bireal_plugin.data.classification import ClassificationDataset, Split, checked_split
from bireal_plugin.errors import InputError


@DATASETS.register_module()
class Digits(ClassificationDataset):
    """1437 training and 360 test images of the digits 0 to 9, one channel, ``(size, size, 1)``.

    The split is fixed and stratified (20 % test). The 8 x 8 images with 17 grey levels are scaled to 0..255 and
    enlarged bilinearly.

    Args:
        split: 'train' or 'test'; 'val' means 'test'.
        size: side of the enlarged images in px.
        options: transform, seed, subset, see ``ClassificationDataset``.

    Raises:
        InputError: scikit-learn is not installed, an unknown split or a size below 1, and what
            ``ClassificationDataset`` raises.
    """

    name = 'scikit-learn digits'

    def __init__(self, split: Split = 'train', *, size: int = 32, **options: Any) -> None:
        if find_spec('sklearn') is None:
            raise InputError("Digits are scikit-learn's: pip install 'bireal-plugin[digits]'")
        split = checked_split(split)
        if not isinstance(size, int) or size < 1:
            raise InputError(f'size must be a whole number of pixels >= 1, for example size=32, not {size!r}')
        samples, targets = (array.copy() for array in _enlarged(split, size))
        classes = [str(digit) for digit in range(10)]
        super().__init__(samples, targets, classes=classes, **options)


@cache  # which every stage of a recipe asks for again
def _enlarged(split: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    # Importing scikit-learn takes a second that no other dataset should pay.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    indices = np.arange(len(digits.target))
    train, test = train_test_split(indices, test_size=0.2, stratify=digits.target, random_state=0)
    chosen = np.sort(train if split == 'train' else test)
    scaled = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    enlarged = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in scaled]
    return np.stack([np.asarray(image) for image in enlarged])[..., None], digits.target[chosen].astype(np.int64)
