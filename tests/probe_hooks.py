"""Hooks that tests put into a config with ``custom_imports``, also in processes of their own."""

import os
import signal
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class StopOnce(Hook):
    """Ends the process in the middle of an epoch of one stage; not again, once ``marker`` exists.

    Args:
        how: 'interrupt' as Ctrl-C does, 'kill' at once and without any clean-up.
    """

    def __init__(self, *, stage: str, epoch: int, iteration: int, marker: str, how: str = 'interrupt') -> None:
        self.where = (stage, epoch, iteration)
        self.marker = Path(marker)
        self.how = how

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if (Path(runner.work_dir).name, runner.epoch, batch_idx) == self.where and not self.marker.exists():
            self.marker.touch()
            if self.how == 'kill':
                os._exit(9)
            raise KeyboardInterrupt


@HOOKS.register_module()
class WeightsProbe(Hook):
    """Writes the weights before the first and after the last iteration: ``first_0.pth``, ``last_0.pth`` on rank 0."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == 0:
            self.write(runner, 'first')

    def after_train(self, runner: Any) -> None:
        self.write(runner, 'last')

    def write(self, runner: Any, name: str) -> None:
        model = getattr(runner.model, 'module', runner.model)
        torch.save(model.state_dict(), Path(runner.work_dir, f'{name}_{runner.rank}.pth'))


@HOOKS.register_module()
class PoisonWeights(Hook):
    """Makes one weight of the classifier NaN at the end of an epoch, before it is saved."""

    def __init__(self, *, epoch: int) -> None:
        self.epoch = epoch

    def after_train_epoch(self, runner: Any) -> None:
        if runner.epoch == self.epoch:
            runner.model.fc.weight.data[0, 0] = float('nan')


@HOOKS.register_module()
class StopRank(Hook):
    """Stops one process, as a debugger or a machine that swaps does, in the middle of the first epoch."""

    def __init__(self, *, rank: int) -> None:
        self.rank = rank

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if (runner.rank, runner.iter) == (self.rank, 3):
            os.kill(os.getpid(), signal.SIGSTOP)
