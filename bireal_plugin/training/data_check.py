"""Data held against the network before the first iteration: classes, channels, and the units of mean and deviation."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn

from bireal_plugin.checkpoints.file import DATASET
from bireal_plugin.errors import InputError, listed
from bireal_plugin.training.config import build_dataset, dataset_of
from bireal_plugin.training.image_size import image_of


def check_data(model: nn.Module, dataset: Any) -> None:
    """Hold the classes of a data set and its first image against what a network takes.

    A data set without a length, images or classes, and a network that does not tell its own, are not judged.

    Raises:
        InputError: labels beyond the network's classes; images of another number of channels than its first convolution
            or its preprocessor takes; a mean and deviation of 0..1 for images of 0..255, or the other way round.
    """
    name, labels = type(dataset).__name__, _classes_of_data(dataset)
    classes = _classes_of_network(model)
    if labels is not None and classes is not None and labels > classes:
        raise InputError(
            f'{name} has {labels} classes (labels 0 to {labels - 1}), but the network has {classes}: set num_classes '
            f'of the model, or of its head, to {labels}'
        )
    if labels is not None and classes is not None and labels < classes:
        print_log(f'{name} has {labels} classes, the network {classes}', logger='current', level=logging.WARNING)
    image = _first_image(dataset)
    if image is not None:
        _check_image(model, image, name)


def other_classes(meta: Any, dataset: Any) -> str | None:
    """Words on a checkpoint's classes that are not the data set's, in name or order; None where they are.

    None too where one of the two does not name them, or they are not as many, so that the layer behind does not fit.

    Args:
        meta: of the checkpoint.
    """
    theirs, ours = _named_classes(_mapping(_mapping(meta).get(DATASET))), _named_classes(_mapping(_metainfo(dataset)))
    if not theirs or not ours or len(theirs[0]) != len(ours[0]) or any(each in ours for each in theirs):
        return None
    place = next(i for i, (then, now) in enumerate(zip(theirs[0], ours[0], strict=True)) if then != now)
    return (
        f'it was trained with {theirs[0][place]} as class {place}, which is {ours[0][place]} in '
        f'{type(dataset).__name__}: its outputs stand for the classes of its training, in their order'
    )


def _named_classes(told: Mapping[str, Any]) -> list[list[str]]:
    """The names of the classes in their order, human ones first; empty where there are none."""
    found = [told.get(key) for key in ('class_names', 'classes')]
    return [list(map(str, names)) for names in found if isinstance(names, (list, tuple)) and names]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _metainfo(dataset: Any) -> Any:
    """``metainfo`` of a data set, or of the one inside of it."""
    inner = getattr(dataset, 'dataset', None)
    return getattr(dataset, 'metainfo', None) or (None if inner is None else _metainfo(inner))


def settle_classes(config: Config) -> None:
    """Give the model as many classes as the training data have, where the config says ``num_classes=None``.

    Raises:
        InputError: the data do not tell their classes, or cannot be read.
    """
    model: Any = config.get('model') or {}
    if model.get('num_classes', 0) is not None:
        return
    dataset = build_dataset(config, dataset_of(config, 'train'))
    classes = _classes_of_data(dataset)
    if classes is None:
        raise InputError(
            f'{config.filename}: model.num_classes is None and {type(dataset).__name__} does not tell its classes; '
            'give --cfg-options model.num_classes=N'
        )
    model.num_classes = classes
    told = listed(list(map(str, dataset.metainfo.get('classes', []))), 12)
    print_log(f'{classes} classes, as the training data have: {told}; the classifier starts anew', logger='current')


def _check_image(model: nn.Module, image: Tensor, name: str) -> None:
    channels = image.shape[0]
    kind = f'{name} has images of {"1 channel (grey)" if channels == 1 else f"{channels} channels"}'
    preprocessor = getattr(model, 'data_preprocessor', None)
    mean, std = (getattr(preprocessor, key, None) for key in ('mean', 'std'))
    if isinstance(mean, Tensor) and mean.numel() not in (1, channels):
        raise InputError(
            f'{kind}, but data_preprocessor has mean and std of {mean.numel()}: give {channels} of each, and '
            f'in_channels={channels} to the backbone, or take data of {mean.numel()} channels'
        )
    first = next((each for each in getattr(model, 'backbone', model).modules() if isinstance(each, nn.Conv2d)), None)
    if first is not None and first.in_channels != channels:
        raise InputError(
            f'{kind}, but the first convolution takes {first.in_channels}: set model.backbone.in_channels={channels}, '
            f'with mean and std of {channels} in data_preprocessor, or take data of {first.in_channels} channels'
        )
    if image.dtype == torch.uint8 and isinstance(std, Tensor) and bool((std < 1).all()):
        raise InputError(
            f'data_preprocessor has std={std.flatten().tolist()}, which is of values from 0 to 1, but images are of 0 '
            'to 255 here: multiply mean and std by 255'
        )
    if image.is_floating_point() and 0 < image.max() <= 1 and isinstance(std, Tensor) and bool((std > 1).all()):
        raise InputError(
            f'data_preprocessor has std={std.flatten().tolist()}, which is of values from 0 to 255, but images are of '
            '0 to 1 here: divide mean and std by 255, or keep the images as bytes'
        )


def _classes_of_data(dataset: Any) -> int | None:
    """One more than the highest label where a data set lists its labels, else the number of its classes.

    Raises:
        InputError: a label is negative.
    """
    labels = _labels(dataset)
    if labels is not None and len(labels):
        if labels.min() < 0:
            raise InputError(f'{type(dataset).__name__} has the label {labels.min()}; labels count from 0')
        return max(int(labels.max()) + 1, len(getattr(dataset, 'classes', ())))
    metainfo = getattr(dataset, 'metainfo', None)
    classes = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    return len(classes) if isinstance(classes, (list, tuple)) else None


def _labels(dataset: Any) -> np.ndarray | None:
    """The labels ``(N,)`` that a data set lists as ``targets``, also inside of subsets, repetitions and joined sets."""
    targets = getattr(dataset, 'targets', None)
    if targets is None:
        parts = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
        found = [None if part is None else _labels(part) for part in parts]
        labels = [each for each in found if each is not None]
        if len(labels) < len(found):
            return None
        whole, chosen = np.concatenate(labels), getattr(dataset, 'indices', None)
        return whole if chosen is None or len(chosen) == 0 else whole[np.asarray(chosen)]
    array = np.asarray(targets)
    return array if array.ndim == 1 and array.dtype.kind in 'iu' else None


def _classes_of_network(model: nn.Module) -> int | None:
    """The most classes that a part of the network tells, since proposal heads of detectors have one class."""
    told = [getattr(each, 'num_classes', None) for each in model.modules()]
    told.append(getattr(getattr(model, 'fc', None), 'out_features', None))
    return max((each for each in told if isinstance(each, int)), default=None)


def _first_image(dataset: Any) -> Tensor | None:
    """The first item's image ``(C, H, W)``."""
    if not hasattr(dataset, '__getitem__') or not len(dataset):
        return None
    with same_random_numbers():
        return image_of(dataset[0])


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Leaves the generators as they were, so that a run draws what it drew without what this block does."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
        yield
    random.setstate(python)
    np.random.set_state(numpy)
