"""The order of the images in each epoch, for one process or many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


class EpochIndex(int):
    """The index of an item, for any dataset an int like another, with the ``epoch`` it is asked for in."""

    epoch: int

    def __new__(cls, index: int, epoch: int = 0) -> EpochIndex:  # pickle, by which workers get it, sets epoch itself
        key = super().__new__(cls, index)
        key.epoch = epoch
        return key


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler[int]):
    """mmengine's ``DefaultSampler`` whose indices know their epoch, so that augmentation can depend on it.

    The order is a pure function of (seed, epoch). With ``W`` processes and batches of ``B`` each, the union of their
    k-th batches is the k-th batch of ``W * B`` images of a single process. Without shuffling every epoch is epoch 0, in
    order: such a loader is for evaluation, where each pass should see the same images.

    Args:
        dataset: only its length is used.
        shuffle: draw a new order in every epoch.
        seed: the same in all processes; ``None`` draws one and shares it.
        round_up: repeat images from the start until all processes have equally many.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset, self.shuffle, self.epoch = dataset, shuffle, 0
        self.seed = sync_random_seed() if seed is None else seed
        total = len(dataset)
        self.total_size = math.ceil(total / self.world_size) * self.world_size if round_up else total

    def __iter__(self) -> Iterator[EpochIndex]:
        order, epoch = np.arange(len(self.dataset)), 0
        if self.shuffle:
            epoch = self.epoch
            # Not seed + epoch, which would give run 1 in epoch 0 the order of run 0 in epoch 1.
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        repeated = np.resize(order, self.total_size)
        return iter([EpochIndex(index, epoch) for index in repeated[self.rank :: self.world_size].tolist()])

    def __len__(self) -> int:
        """Number of images of this process."""
        return len(range(self.rank, self.total_size, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; mmengine's loops call it."""
        self.epoch = epoch
