"""Images to verify or calibrate an export with: a config's dataset, or a folder of pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from bireal_plugin.data.classification import build_transform
from bireal_plugin.data.image_file import IMAGE_SUFFIXES, is_image_name, read_rgb
from bireal_plugin.errors import InputError
from bireal_plugin.shipping.network import Network
from bireal_plugin.shipping.verify import Batch
from bireal_plugin.training.config import build_dataset, config_mistakes, dataset_of

# A raw image, uint8 (C, H, W), and its label.
Sample = tuple[Tensor, int | None]
# Options of a dataset that decide how an image is changed.
TEST_OPTIONS = ('transform', 'pipeline', 'flip')


class Images(NamedTuple):
    """Images, and the number of all that they were taken from; None where that is a folder."""

    population: int | None
    samples: Iterator[Sample]


def images_of(network: Network, split: str, count: int, folder: Path | None, *, option: str) -> Images:
    """``count`` images of a folder, or of the network's config.

    Args:
        split, folder: see ``dataset_images`` and ``folder_images``.
        option: of the command line that gives the folder.

    Raises:
        InputError: there are no such images, which is found before the first is read.
    """
    if folder is not None:
        return folder_images(folder, network, count)
    if 'type' not in dataset_of(network.config, split):
        raise InputError(f'{network.config.filename} names no {split} data; give a folder of images: {option} DIR')
    return dataset_images(network, split, count)


def dataset_images(network: Network, split: str, count: int) -> Images:
    """``count`` images spread over a dataset of the network's config, changed as for testing.

    Args:
        split: 'test' or 'train'; training images too come without augmentation.

    Raises:
        InputError: the dataset cannot be read.
    """
    config = network.config
    test, chosen = dataset_of(config), dataset_of(config, split)
    if split != 'test' and test:
        chosen = {**chosen, **{key: test.get(key) for key in TEST_OPTIONS if key in chosen}}
    dataset = build_dataset(config, chosen)

    def samples() -> Iterator[Sample]:
        with config_mistakes(str(config.filename)):
            for index in spread(len(dataset), count):
                sample = dataset[index]
                image = sample.get(network.image_key) if isinstance(sample, dict) else None
                if not isinstance(image, Tensor):
                    raise InputError(f'an item of its {split} dataset has no image tensor {network.image_key}')
                yield image, sample.get('labels')

    return Images(len(dataset), samples())


def folder_images(folder: Path, network: Network, count: int) -> Images:
    """``count`` images spread over the pictures in ``folder`` and the folders in it, without labels.

    They go through the transform of the config's test dataset if that has one.

    Raises:
        InputError: there is no such folder or no picture in it; or, of ``samples``, one cannot be decoded.
    """
    if not folder.is_dir():
        raise InputError(f'the folder of images {folder} does not exist')
    files = sorted(file for file in folder.rglob('*') if is_image_name(file.name))
    if not files:
        raise InputError(f'there is no image ({", ".join(IMAGE_SUFFIXES)}) in {folder}')
    transform = build_transform(dataset_of(network.config).get('transform'))

    def samples() -> Iterator[Sample]:
        for index in spread(len(files), count):
            picture = read_rgb(files[index], exif=False)
            image = transform(picture.convert('L') if network.channels == 1 else picture, np.random.default_rng(0))
            yield image.flip(0) if network.bgr else image, None

    return Images(None, samples())


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


def _resized(image: Tensor, height: int, width: int, channels: int) -> Tensor:
    if image.shape[0] != channels:
        raise InputError(f'the images have {image.shape[0]} channels, the network takes {channels}')
    return resize(image, [height, width])
