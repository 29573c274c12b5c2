"""Shared part of the stereo datasets: keys with an epoch, reproducible mirroring, images as tensors."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bireal_plugin.depth.camera import TrainedOn
from bireal_plugin.errors import InputError


class PairDataset(Dataset, ABC):
    """Rectified stereo pairs; ``dataset[index]`` or ``dataset[epoch, index]`` is a dict with ``left`` and ``right``.

    Mirroring is a pure function of (seed, epoch, index) for the keys that ``EpochSampler`` yields, so that a resumed
    run or another number of workers sees the same pairs; with a plain index torch's generator decides.

    Args:
        flip: mirror half of the pairs. In a mirror the right camera stands on the left, so the images change places.
        seed: non-negative; another seed mirrors other pairs.

    Raises:
        InputError: a seed that is no whole number from 0.
    """

    name: ClassVar[str]

    def __init__(self, *, flip: bool, seed: int) -> None:
        if not isinstance(seed, int) or seed < 0:
            raise InputError(f'{type(self).__name__}: seed must be a whole number >= 0, not seed={seed!r}')
        self.flip, self.seed = flip, seed

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def item(self, index: int, *, mirrored: bool) -> dict[str, Any]:
        """Pair number ``index``, 0 to ``len(self) - 1``."""

    @property
    @abstractmethod
    def trained_on(self) -> TrainedOn:
        """Size and cameras of the pairs."""

    @property
    def metainfo(self) -> dict[str, Any]:
        """Name of the dataset, size and cameras of its pairs, as mmengine saves them with every checkpoint."""
        return dict(dataset=self.name, **self.trained_on.told())

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (getattr(key, 'epoch', None), key)
        index = range(len(self))[operator.index(index)]
        if not self.flip:
            return self.item(index, mirrored=False)
        draw = float(torch.rand(())) if epoch is None else np.random.default_rng((self.seed, epoch, index)).random()
        return self.item(index, mirrored=draw < 0.5)


def planes(image: np.ndarray) -> Tensor:
    """Copy an image ``(H, W, 3)`` into a tensor ``(3, H, W)`` of its own memory."""
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), order='C'))
