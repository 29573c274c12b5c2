"""Shared part of the classification datasets: keys with an epoch, reproducible augmentation, splits and subsets.

Finding and decoding images is the job of one file per dataset, augmentation that of ``transforms.py``.
"""

import inspect
import operator
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from torch.utils.data import Dataset

from bireal_plugin.data.transforms import ImageToTensor8, RawImage, Transform
from bireal_plugin.errors import InputError

Split = Literal['train', 'val', 'test']


class ClassificationDataset(Dataset):
    """Labelled images; ``dataset[index]`` or ``dataset[epoch, index]`` is ``dict(inputs=..., labels=...)``.

    ``inputs`` is a uint8 tensor ``(C, H, W)`` and ``labels`` an int. The augmentation is a pure function of (seed,
    epoch, index): each item gets a generator of its own. A resumed run, another number of workers or of processes
    therefore sees exactly the same images, which is why ``EpochSampler`` hands out the epoch
    along with the index. A plain index means epoch 0.

    Args:
        samples: input of ``image`` for each of the ``N`` images, an array of length ``N`` along its first axis: the
            images themselves, uint8 ``(N, H, W, C)``, unless a class overrides ``image``.
        targets: ``N`` class indices.
        classes: names of the classes, in the order of the indices.
        transform: a config for mmengine's ``TRANSFORMS``, or a function of (image, rng); see ``transforms.py``.
            ``None`` leaves the images as they are.
        seed: non-negative; another seed gives other augmentations.
        subset: keep only this many images, the first ones of every class in equal shares.

    Raises:
        InputError: an unknown transform, one that does not take (image, rng), a negative seed, or an impossible subset.
    """

    name: ClassVar[str]

    def __init__(
        self,
        samples: np.ndarray,
        targets: np.ndarray,
        *,
        classes: Sequence[str],
        transform: dict[str, Any] | Transform | None = None,
        seed: int = 0,
        subset: int | None = None,
    ) -> None:
        if not isinstance(seed, int) or seed < 0:
            raise InputError(f'seed must be a whole number >= 0, for example seed=0, not {seed!r}')
        if subset is not None:
            kept = first_of_each_class(targets, subset)
            samples, targets = samples[kept], targets[kept]
        self.samples, self.targets, self.classes = samples, targets, list(classes)
        self.transform, self.seed = build_transform(transform), seed

    def image(self, index: int) -> RawImage:
        """Image number ``index`` before the transform: a PIL image or a uint8 array ``(H, W, C)``; here the sample."""
        return self.samples[index]

    @property
    def metainfo(self) -> dict[str, Any]:
        """``classes`` and the name of the ``dataset``; plain types only, since it is saved with every checkpoint."""
        return dict(classes=list(self.classes), dataset=self.name)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (getattr(key, 'epoch', 0), key)
        index = range(len(self))[operator.index(index)]
        inputs = self.transform(self.image(index), np.random.default_rng((self.seed, epoch, index)))
        tensor = isinstance(inputs, torch.Tensor)
        if not tensor or inputs.dtype != torch.uint8 or inputs.ndim != 3:
            found = f'{inputs.dtype} {tuple(inputs.shape)}' if tensor else type(inputs).__name__
            raise InputError(
                f'the transform {type(self.transform).__name__} must return a uint8 tensor (C, H, W) and returned '
                f'{found}: end it with ImageToTensor8'
            )
        return dict(inputs=inputs, labels=int(self.targets[index]))


def checked_split(split: str) -> Literal['train', 'test']:
    """'train' or 'test', with 'val' as a synonym of 'test'.

    Raises:
        InputError: any other word.
    """
    if split == 'train':
        return 'train'
    if split in ('val', 'test'):
        return 'test'
    raise InputError(f"split must be 'train' or 'test' ('val' means the same), not {split!r}")


def first_of_each_class(targets: np.ndarray, count: int) -> np.ndarray:
    """Positions of ``count`` images, ascending: the first ones of each class, as equally many per class as there are.

    Raises:
        InputError: ``count`` is not between 1 and the number of images.
    """
    if not isinstance(count, int) or not 1 <= count <= len(targets):
        raise InputError(
            f'subset must be between 1 and the {len(targets)} images of this split, not {count!r}; None keeps all'
        )
    occurrence = np.empty(len(targets), dtype=np.int64)
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        occurrence[members] = np.arange(len(members))
    return np.sort(np.lexsort((targets, occurrence))[:count])


def build_transform(transform: dict[str, Any] | Transform | None) -> Transform:
    """Build a transform from its config, or check the one that is given.

    Raises:
        InputError: no ``type``, an unknown one, or something that cannot be called with (image, rng).
    """
    built: Any = ImageToTensor8() if transform is None else transform
    if isinstance(transform, dict):
        kind = transform.get('type')
        if kind is None or (isinstance(kind, str) and TRANSFORMS.get(kind) is None):
            raise InputError(
                f"transform={transform!r} names no registered type: use for example dict(type='ImageToTensor8'), or "
                'import the module that defines the type through custom_imports'
            )
        built = TRANSFORMS.build(transform)
    try:
        inspect.signature(built).bind('image', 'rng')
    except TypeError as error:
        raise InputError(
            f'the transform {built!r} cannot be called as transform(image, rng) ({error}): wrap it in a '
            "function, or use one of bireal_plugin.data, for example dict(type='ImageToTensor8')"
        ) from error
    return built
