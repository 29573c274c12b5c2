"""Small hooks of the runner: seeds, throughput, divergence, missed validations, and the record of a stage's metrics."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from bireal_plugin.errors import InputError
from bireal_plugin.hosts.mmengine_private import validation_due
from bireal_plugin.training.hooks.plain_checkpoint import VALIDATED, last_metrics


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds torch at the start of every epoch from (seed, epoch, rank).

    Dropout and whatever else draws from torch's generator then depends on the epoch alone, so a resumed run draws what
    the uninterrupted one drew.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Any) -> None:
        torch.manual_seed((runner.seed * 1_000_003 + runner.epoch) * 4_099 + get_rank())


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs ``images_per_second`` of training beside mmengine's loss and ETA, over all processes; validation is no part.

    A batch is a dict; where none of its entries is called ``inputs``, the first one is counted.
    """

    last = paused = 0.0

    def before_train_epoch(self, runner: Any) -> None:
        self.last = time.perf_counter()

    def before_val(self, runner: Any) -> None:
        self.paused = time.perf_counter()

    def after_val(self, runner: Any) -> None:
        self.last += time.perf_counter() - self.paused

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        now = time.perf_counter()
        entry = data_batch['inputs'] if 'inputs' in data_batch else next(iter(data_batch.values()))
        images = len(entry) * get_world_size()
        runner.message_hub.update_scalar('train/images_per_second', images / (now - self.last))
        self.last = now


@HOOKS.register_module()
class DivergenceHook(Hook):
    """Stops with a sentence when the loss is NaN or infinite.

    Args:
        interval: iterations between looks; a look waits for the GPU.
    """

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if not self.every_n_inner_iters(batch_idx, self.interval) or outputs is None:
            return
        loss = torch.as_tensor(outputs['loss'])
        if not torch.isfinite(loss).all():
            raise InputError(
                f'the loss became {loss.item()} in epoch {runner.epoch + 1}, iteration {batch_idx + 1}; checkpoints '
                f'in {runner.work_dir} are from before; lower the learning rate and use --resume'
            )


@HOOKS.register_module()
class MonitorHook(Hook):
    """Refuses to follow a metric that is not measured: ``save_best``, early stopping, schedules that watch one.

    Before the first epoch where every metric of the evaluator tells its ``names``, else at the first validation.
    """

    priority = 'VERY_HIGH'  # before the CheckpointHook looks the metric up

    def before_train(self, runner: Any) -> None:
        metrics = [] if runner.val_loop is None else runner.val_loop.evaluator.metrics
        if metrics and all(hasattr(metric, 'names') for metric in metrics):
            self._check(runner, [name for metric in metrics for name in metric.names])

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if metrics:
            self._check(runner, metrics)

    def _check(self, runner: Any, measured: Iterable[str]) -> None:
        schedulers = runner.param_schedulers or []
        every = chain(*schedulers.values()) if isinstance(schedulers, dict) else schedulers
        followed = [('monitor', getattr(each, 'monitor', None)) for each in (*runner.hooks, *every)]
        followed += [('save_best', name) for hook in runner.hooks for name in getattr(hook, 'save_best', None) or ()]
        for key, name in followed:
            if name not in (None, 'auto', *measured):
                raise InputError(
                    f'{key}={name!r} is not measured; the metrics of val_evaluator are {", ".join(measured)}'
                )


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validates a resumed run where it stands, if it was to be validated there and was stopped before.

    A checkpoint is written before the validation of its epoch, and once more after it where that is the best so far. A
    run that is stopped between would otherwise lack a validation in its curves, and might miss its best epoch.
    """

    priority = 'LOWEST'  # in before_train, after the CheckpointHook, which keeps the best

    def before_train(self, runner: Any) -> None:
        validated = runner.message_hub.runtime_info.get(VALIDATED, [])[-1:] == [runner.iter]
        if runner.iter == 0 or runner.val_loop is None or validated or not validation_due(runner.train_loop):
            return
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.last_ckpt is None:  # it would not write the checkpoint again
                hook.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')
        runner.val_loop.run()


@HOOKS.register_module()
class StageRecordHook(Hook):
    """Remembers the last validation metrics and the training seconds of a stage, over interruptions too."""

    priority = 'VERY_HIGH'  # before the validation that a resumed run may have missed

    def before_train(self, runner: Any) -> None:
        self.metrics = last_metrics(runner.message_hub)
        self.earlier = runner.message_hub.runtime_info.get('stage_seconds', 0.0)
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Training and validation time so far."""
        return self.earlier + time.perf_counter() - self.started

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['message_hub']['runtime_info']['stage_seconds'] = self.seconds

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self.metrics = dict(metrics or {})
