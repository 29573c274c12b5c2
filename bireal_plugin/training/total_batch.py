"""The total batch of a run against the one that its learning rate is for (``auto_scale_lr.base_batch_size``).

Images of one step of the optimizer: those of a batch, times processes, times accumulated iterations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict

from bireal_plugin.hosts.mmengine_private import accumulated_iterations


def single_wrappers(wrapper: OptimWrapper) -> Iterator[OptimWrapper]:
    """The wrappers of single optimizers: ``wrapper`` itself, or those of a dictionary of them."""
    yield from wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]


def scale_by_accumulation(wrapper: OptimWrapper) -> None:
    """Multiply learning rates by the iterations that a step accumulates, which mmengine leaves out of the batch."""
    for each in single_wrappers(wrapper):
        for group in each.optimizer.param_groups:
            group['lr'] *= accumulated_iterations(each)


def other_batch(wrapper: OptimWrapper, dataloader: Any, processes: int, base: int) -> str | None:
    """One sentence where the total batch is not ``base``, with the learning rate that scaling would give; else None."""
    batch = dataloader.get('batch_size') if isinstance(dataloader, Mapping) else dataloader.batch_size
    first = next(single_wrappers(wrapper))
    total, rate = (batch or 0) * processes * accumulated_iterations(first), first.optimizer.defaults.get('lr')
    if total in (0, base) or rate is None:
        return None
    return (
        f'the learning rate {rate:g} is for a total batch of {base} images, and this run has {total} ({processes} '
        f'process{"es" if processes > 1 else ""} x {batch} x {accumulated_iterations(first)} accumulated): its results '
        f"will be others than the recipe's; --auto-scale-lr would train with {rate * total / base:g}"
    )
