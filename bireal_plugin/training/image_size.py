"""Height and width of the images that a config gives its network: those of its data, as they come out of the pipeline.

Training writes them into every checkpoint, beside the metrics that it measured with the weights in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from bireal_plugin.checkpoints.file import KEY
from bireal_plugin.checkpoints.loading import fetch_checkpoint
from bireal_plugin.data.classification import build_transform
from bireal_plugin.errors import InputError
from bireal_plugin.training.config import build_dataset, config_mistakes, dataset_of

Size = tuple[int, int]
IMAGES = ('inputs', 'left')  # entries of an item that hold an image, of classification and detection, and of pairs
PYRAMID = 32  # divisor of the sizes that feature pyramids take, where the preprocessor names none
LOOKED_AT = 3  # items of a data set
PICTURES = ((417, 500), (333, 640))  # sizes of blank pictures that a transform is tried on


def image_of(item: Any) -> Tensor | None:
    """The image ``(C, H, W)`` in an item of a data set; None where it holds none."""
    images = [item.get(key) for key in IMAGES] if isinstance(item, Mapping) else []
    return next((image for image in images if isinstance(image, Tensor) and image.ndim == 3), None)


def items_size(dataset: Any, divisor: int = 1) -> Size | None:
    """Size of the image tensors in a data set's items, rounded up to ``divisor``; None where items differ.

    Raises:
        InputError: an item holds no image tensor.
    """
    sizes = set()
    for index in np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).astype(int).tolist():
        image = image_of(dataset[index])
        if image is None:
            raise InputError(f'an item of the data set {type(dataset).__name__} has no image tensor inputs')
        sizes.add((-(-image.shape[1] // divisor) * divisor, -(-image.shape[2] // divisor) * divisor))
    return sizes.pop() if len(sizes) == 1 else None


def tested_size(config: Config) -> Size:
    """Height and width of the images that ``config`` tests with; without test data, validates with, else trains with.

    They are those of real items. Where the data cannot be read, or its images differ in size, the config's own words
    count if they leave no choice: a crop, the size of the data set, or the ``Resize`` of its pipeline, rounded up.

    Raises:
        InputError: neither the data nor the config tells one size.
    """
    entry = next(filter(None, (dataset_of(config, split) for split in ('test', 'val', 'train'))), None)
    if not entry:
        raise InputError(f'{config.filename} has no data that would tell the size of the images: give --size H W')
    preprocessor = (config.get('model') or {}).get('data_preprocessor') or config.get('data_preprocessor') or {}
    divisor = preprocessor.get('pad_size_divisor')
    reason = 'its images are of several sizes'
    try:
        dataset = build_dataset(config, entry)
        with config_mistakes(str(config.filename)):
            if (size := items_size(dataset, divisor or 1)) is not None:
                return size
    except (InputError, OSError) as error:
        reason = str(error)
    size = _written_size(entry, divisor or PYRAMID)
    if size is None:
        raise InputError(f'the size of the test images is not known: {reason}; give it as --size H W')
    return size


def _written_size(dataset: Mapping[str, Any], divisor: int) -> Size | None:
    for step in dataset.get('pipeline') or []:
        if step['type'] == 'Resize' and isinstance(step.get('scale'), (tuple, list)):
            width, height = (-(-side // divisor) * divisor for side in step['scale'])
            return height, width
    size = dataset.get('size')
    if size is not None:
        return (size, size) if isinstance(size, int) else (size[0], size[1])
    if dataset.get('transform') is None:
        return None
    transform = build_transform(dataset['transform'])
    first, second = (transform(Image.new('RGB', (w, h)), np.random.default_rng(0)).shape for h, w in PICTURES)
    return (first[-2], first[-1]) if first == second else None


@dataclass(frozen=True)
class Record:
    """Facts that a training run wrote into a checkpoint.

    Attributes:
        size: height and width of the images that it was validated with; None where it does not say.
        metrics: measured with exactly these weights, by their names in the log; empty where they were not.
        data: entry of the data set that they were measured on.
    """

    size: Size | None
    metrics: Mapping[str, float]
    data: Mapping[str, Any]


def record_of(checkpoint: str) -> Record:
    """The record in a checkpoint.

    Raises:
        InputError: it cannot be read, or the record is damaged.
    """
    meta = fetch_checkpoint(checkpoint).get('meta')
    told = meta.get(KEY) if isinstance(meta, Mapping) else None
    if not isinstance(told, Mapping):
        return Record(None, {}, {})
    size, metrics = told.get('size'), told.get('metrics') or {}
    right = size is None or (isinstance(size, Sequence) and len(size) == 2 and all(isinstance(n, int) for n in size))
    if not right or not isinstance(metrics, Mapping):
        raise InputError(f'{checkpoint}: meta.{KEY} has size={size!r} and metrics={metrics!r}; the file is damaged')
    return Record(None if size is None else (size[0], size[1]), metrics, dataset_of(told.get('config') or {}, 'val'))


def same_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two entries are of the same images, wherever they lie."""
    return bool(one) and {**one, 'root': None} == {**other, 'root': None}
