"""Images to verify or calibrate an export with: a config's dataset, or a folder of pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from bireal_plugin.data.classification import build_transform
from bireal_plugin.data.image_file import IMAGE_SUFFIXES, is_image_name, read_rgb
from bireal_plugin.errors import InputError
from bireal_plugin.shipping.network import Network
from bireal_plugin.shipping.verify import Batch
from bireal_plugin.training.config import build_dataset, config_mistakes

# A raw image, uint8 (C, H, W), and its label.
Sample = tuple[Tensor, int | None]
# Options of a dataset that decide how an image is changed.
TEST_OPTIONS = ('transform', 'pipeline', 'flip')


def dataset_images(network: Network, split: str, count: int) -> Iterator[Sample]:
    """``count`` images spread over a dataset of the network's config, changed as for testing.

    Args:
        split: 'test' or 'train'; training images too come without augmentation.

    Raises:
        InputError: the config has no such dataset, or it cannot be read.
    """
    config = network.config
    test, chosen = (_dataset(config, name) for name in ('test', split))
    if chosen is None:
        raise InputError(f'{config.filename} has no {split}_dataloader; name a folder of images instead')
    if split != 'test' and test is not None:
        chosen = {**chosen, **{key: test.get(key) for key in TEST_OPTIONS if key in chosen}}
    dataset = build_dataset(config, chosen)
    with config_mistakes(str(config.filename)):
        for index in spread(len(dataset), count):
            sample = dataset[index]
            image = sample.get(network.image_key) if isinstance(sample, dict) else None
            if not isinstance(image, Tensor):
                raise InputError(f'an item of its {split} dataset has no image tensor {network.image_key}')
            yield image, sample.get('labels')


def folder_images(folder: Path, network: Network, count: int) -> Iterator[Sample]:
    """``count`` images spread over the pictures in ``folder`` and the folders in it, without labels.

    They go through the transform of the config's test dataset if that has one.

    Raises:
        InputError: there is no such folder or no picture in it, or one cannot be decoded.
    """
    if not folder.is_dir():
        raise InputError(f'the folder of images {folder} does not exist')
    files = sorted(file for file in folder.rglob('*') if is_image_name(file.name))
    if not files:
        raise InputError(f'there is no image ({", ".join(IMAGE_SUFFIXES)}) in {folder}')
    transform = build_transform((_dataset(network.config, 'test') or {}).get('transform'))
    for index in spread(len(files), count):
        picture = read_rgb(files[index], exif=False)
        image = transform(picture.convert('L') if network.channels == 1 else picture, np.random.default_rng(0))
        yield image.flip(0) if network.bgr else image, None


def batches(samples: Iterator[Sample], network: Network, shape: Sequence[int]) -> Iterator[Batch]:
    """Normalised batches of exactly ``shape`` ``(N, C, H, W)``; images of another size are resized.

    The last batch is filled up with its own first images, which do not count.

    Raises:
        InputError: there are no images, they have other channels, or the network pads them to another size.
    """
    n, channels, height, width = shape
    while chunk := list(itertools.islice(samples, n)):
        filled = [chunk[i % len(chunk)] for i in range(n)]
        images = network.normalise(torch.stack([_resized(image, height, width, channels) for image, _ in filled]))
        if tuple(images.shape) != tuple(shape):
            raise InputError(
                f'the data preprocessor makes {tuple(images.shape)} of {tuple(shape)}; give that as --size'
            )
        labels = [label for _, label in chunk if label is not None]
        yield Batch(images.numpy(), len(chunk), np.array(labels) if len(labels) == len(chunk) else None)


def spread(total: int, count: int) -> list[int]:
    """Up to ``count`` of ``total`` places, evenly: data sets are often sorted by class."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def _dataset(config: Mapping[str, Any], split: str) -> dict[str, Any] | None:
    return (config.get(f'{split}_dataloader') or {}).get('dataset')


def _resized(image: Tensor, height: int, width: int, channels: int) -> Tensor:
    if image.shape[0] != channels:
        raise InputError(f'the images have {image.shape[0]} channels, the network takes {channels}')
    if tuple(image.shape[1:]) == (height, width):
        return image
    pixels = cv2.resize(image.permute(1, 2, 0).numpy(), (width, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1).contiguous()
