"""Precise BatchNorm: running statistics that are those of the current weights, for validation and checkpoints."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bireal_plugin.data.sampler import EpochIndex
from bireal_plugin.errors import InputError
from bireal_plugin.hosts.torch_private import BatchNorm
from bireal_plugin.training.data_check import same_random_numbers
from bireal_plugin.training.hooks.plan import unwrapped


@HOOKS.register_module()
class PreciseBNHook(Hook):
    """Replaces running statistics by the mean and variance over many training images, all of the current weights.

    Running statistics are an average over the last steps, each of other weights; at a high learning rate they fit none
    of them, and a network is validated far below what it has learnt. Training itself does not use them, so its weights
    are bit for bit those without this hook. The images are a pure function of (seed, epoch or iteration): nothing is
    taken from the training loader or from a random generator, and a resumed run ends as the uninterrupted one.

    It runs before checkpoints are saved, which therefore hold what was validated. Statistics are summed over processes.
    What a norm gets is normalised by each batch before it, as in training.

    Args:
        num_samples: images, of all processes together; whole batches of training's size are taken.
        interval: epochs between, or iterations where training counts these; that of the validation by default. The
            last one is never left out.

    Raises:
        InputError: a number below 1; from before training: the data set has no length.
    """

    priority = 'BELOW_NORMAL'  # behind the SyncBuffersHook, before the CheckpointHook

    def __init__(self, num_samples: int = 8192, interval: int | None = None) -> None:
        for name, value in (('num_samples', num_samples), ('interval', interval)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f'PreciseBNHook({name}=...) is a whole number from 1 on, not {value!r}')
        self.num_samples, self.interval = num_samples, interval

    def before_train(self, runner: Any) -> None:
        dataset = runner.train_loop.dataloader.dataset
        if not isinstance(dataset, Sized):
            raise InputError(f'PreciseBNHook: {type(dataset).__name__} has no length; leave the hook out')
        self.every = self.interval or runner.train_loop.val_interval
        self.by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)

    def after_train_epoch(self, runner: Any) -> None:
        if self.by_epoch and (self.every_n_epochs(runner, self.every) or self.is_last_train_epoch(runner)):
            self._measure(runner, runner.epoch)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if not self.by_epoch and (self.every_n_train_iters(runner, self.every) or self.is_last_train_iter(runner)):
            self._measure(runner, runner.iter)

    def _measure(self, runner: Any, time: int) -> None:
        model: Any = unwrapped(runner.model)
        with same_random_numbers(), torch.no_grad(), summed_statistics(model):
            seed = np.random.SeedSequence((runner.seed, time, get_dist_info()[0], 1)).generate_state(1)[0]
            random.seed(int(seed))
            np.random.seed(seed)
            torch.manual_seed(int(seed))
            for batch in self._batches(runner.train_loop.dataloader, runner.seed, time):
                data = model.data_preprocessor(batch, True)
                with runner.optim_wrapper.optim_context(model):
                    if isinstance(data, Mapping):
                        model(**data, mode='loss')
                    else:
                        model(*data, mode='loss')

    def _batches(self, loader: DataLoader, seed: int, time: int) -> DataLoader:
        """A loader of this process's share, which leaves the training loader where it is."""
        rank, processes = get_dist_info()
        size: Any = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
        order = np.random.default_rng((seed, time, 0)).permutation(len(loader.dataset))  # type: ignore[arg-type]
        together = size * processes
        count = max(min(self.num_samples, len(order)) // together, 1)
        mine = [EpochIndex(index, time) for index in order[: count * together][rank::processes].tolist()]
        return DataLoader(
            loader.dataset,
            batch_sampler=[mine[start : start + size] for start in range(0, len(mine), size)],
            collate_fn=loader.collate_fn,
            num_workers=loader.num_workers,
            worker_init_fn=loader.worker_init_fn,
        )


@contextmanager
def summed_statistics(model: nn.Module) -> Iterator[None]:
    """Running statistics after this block are those of all that training norms got in it, in all processes.

    Mean and unbiased variance over images and pixels; norms that got nothing keep theirs.
    """
    norms: list[Any] = [each for each in model.modules() if isinstance(each, BatchNorm) and each.training]
    norms = [each for each in norms if each.running_mean is not None]
    # Per channel: the number of values, their sum and their squares' sum.
    sums = [torch.zeros(3, each.num_features, dtype=torch.float64, device=each.running_mean.device) for each in norms]
    counters = [each.num_batches_tracked.clone() for each in norms]

    def noting(total: Tensor) -> Any:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().float().transpose(0, 1).flatten(1)
            variance, mean = (each.double() for each in torch.var_mean(x, 1, correction=0))
            total.add_(torch.stack([torch.ones_like(mean), mean, variance + mean.square()]), alpha=x.shape[1])

        return note

    handles = [norm.register_forward_pre_hook(noting(total)) for norm, total in zip(norms, sums, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for norm, (count, total, squares), counter in zip(norms, map(_everywhere, sums), counters, strict=True):
        norm.num_batches_tracked.copy_(counter)
        if count[0] > 1:
            mean = total / count
            norm.running_mean.copy_(mean)
            norm.running_var.copy_((squares / count - mean.square()).clamp(min=0) * count / (count - 1))


def _everywhere(sums: Tensor) -> Tensor:
    all_reduce(sums)
    return sums
