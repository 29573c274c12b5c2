"""The Runner of tools/train.py: mmengine's own, with atomic checkpoints, reported loading and a readable console."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from mmengine.visualization import Visualizer
from torch import nn

from bireal_plugin.checkpoints.file import PHASES, origin_of, state_dict_of
from bireal_plugin.checkpoints.loading import fetch_checkpoint, load_weights, log_line
from bireal_plugin.errors import InputError
from bireal_plugin.hosts.mmengine_private import end_workers_of, mark_loaded
from bireal_plugin.training.config import config_mistakes
from bireal_plugin.training.data_check import check_data, other_classes
from bireal_plugin.training.hooks.plain_checkpoint import PlainCheckpointHook
from bireal_plugin.training.hooks.plan import settle_phases, unwrapped
from bireal_plugin.training.hooks.stage import MissedValidationHook, MonitorHook
from bireal_plugin.training.resume import continue_run, keep_within, read_resumed
from bireal_plugin.training.saved_progress import check_counters, check_states, resumable
from bireal_plugin.training.total_batch import other_batch, scale_by_accumulation
from bireal_plugin.training.trained import check_absorbed, check_finite
from bireal_plugin.whole_file import whole


def _naming_config(build: Callable[..., Any]) -> Callable[..., Any]:
    """A method of Runner whose mistakes become one sentence that names the config; data are held against the model."""

    @wraps(build)
    def told(self: Runner, *args: Any, **kwargs: Any) -> Any:
        with config_mistakes(str(self.cfg.filename)):
            built = build(self, *args, **kwargs)
            if isinstance(built, BaseLoop):
                self.data = built.dataloader.dataset
                check_data(unwrapped(self.model), self.data)
            return built

    return told


@contextmanager
def machine_failures() -> Iterator[None]:
    """Turns into one sentence what torch raises when a worker or another process is lost, or memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text, saved = str(error), 'what was saved stays, and --resume goes on from there'
        told = f'({text.strip().partition(chr(10))[0].rstrip(".") or type(error).__name__})'
        if 'DataLoader worker' in text or 'bus error encountered in worker' in text:
            raise InputError(
                f'a worker of the data loader was killed, as a rule because memory or /dev/shm ran out {told}: lower '
                f'num_workers or batch_size of the data loader; {saved}'
            ) from error
        if any(
            words in text for words in ('Timed out waiting', 'Connection closed by peer', 'Connection reset by peer')
        ):
            raise InputError(
                f'another process of this run does not answer, or has ended {told}: look at its output, and start all '
                f'again; env_cfg.dist_cfg.timeout is the time in s to wait for an answer; {saved}'
            ) from error
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text:
            raise InputError(f'memory ran out {told}: lower batch_size, or train with --amp; {saved}') from error
        raise


@RUNNERS.register_module()
class BiRealRunner(Runner):
    """mmengine's Runner; nothing of its loop, hooks or order is changed.

    * A checkpoint is written beside its place and renamed into it: an interrupted write leaves the earlier file.
    * Checkpoints are read with ``weights_only=True`` alone.
    * Loading says what matched and what did not; resuming, and ``load_strict=True`` in the config, demand all of it;
      less than half needs ``allow_partial=True``.
    * Resuming takes the schedule as the config has it now, and refuses another network or other data.
    * A config that cannot be built is an InputError that names the config.
    * A total batch that the learning rate is not for (``auto_scale_lr.base_batch_size``) is a warning.
    * Processes of data loaders, persistent ones too, end with the training.
    * ``tensorboard=True`` in the config adds TensorBoard's curves, where its package is installed.
    """

    @classmethod
    def from_cfg(cls, cfg: Any) -> Runner:
        """mmengine's, under a name of its own: loggers, hubs and visualizers of one name are shared.

        mmengine's name is that of the config and the second, in which a second run may start.
        """
        cfg = copy.deepcopy(cfg)
        cfg.setdefault('experiment_name', f'{Path(cfg.work_dir).resolve().name}_{time.time_ns()}')
        if isinstance(cfg.get('visualizer'), dict):
            cfg.visualizer['name'] = cfg.experiment_name
        return super().from_cfg(cfg)

    data: Any = None  # the data set of the loop that was built last

    # Built when a run starts, long after the Runner itself.
    build_train_loop = _naming_config(Runner.build_train_loop)
    build_val_loop = _naming_config(Runner.build_val_loop)
    build_test_loop = _naming_config(Runner.build_test_loop)
    build_optim_wrapper = _naming_config(Runner.build_optim_wrapper)
    build_param_scheduler = _naming_config(Runner.build_param_scheduler)

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """mmengine's, accumulated iterations counted too; where it is off, another total batch is a warning."""
        super().scale_lr(optim_wrapper, auto_scale_lr)
        base = (auto_scale_lr or {}).get('base_batch_size')
        if base and auto_scale_lr and auto_scale_lr.get('enable'):
            scale_by_accumulation(optim_wrapper)
        elif base and (told := other_batch(optim_wrapper, self._train_dataloader, self.world_size, base)):
            self.logger.warning(told)

    def train(self) -> nn.Module:
        with machine_failures(), self._workers():
            return super().train()

    def test(self) -> dict[str, float]:
        with machine_failures(), self._workers():
            return super().test()

    @contextmanager
    def _workers(self) -> Iterator[None]:
        """End the data loaders' processes behind the block, or those of a stage stay for a while of the next one."""
        try:
            yield
        finally:
            for loop in (self._train_loop, self._val_loop, self._test_loop):
                if isinstance(loop, BaseLoop):
                    end_workers_of(loop)

    def build_model(self, model: Any) -> nn.Module:
        """mmengine's, in the phases of the checkpoint that it is to be tested with."""
        built = super().build_model(model)
        settle_phases(built, self.cfg.get(PHASES) or {})
        return built

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """mmengine's hooks, and those that every run needs, since its checkpoints are to be read and resumed."""
        super().register_hooks(default_hooks, custom_hooks)
        for kind in (PlainCheckpointHook, MonitorHook, MissedValidationHook):
            if not any(isinstance(hook, kind) for hook in self.hooks):
                self.register_hook(kind())

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """mmengine's logger; the dumps of environment and config (hundreds of lines) are in the log file alone."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(lambda record: record.getMessage().count('\n') < 20)
        return logger

    def build_visualizer(self, visualizer: Any = None) -> Visualizer:
        """mmengine's, with TensorBoard beside its backends where the config says ``tensorboard=True``."""
        if self.cfg.get('tensorboard') and isinstance(visualizer, dict):
            backends = list(visualizer.get('vis_backends') or [])
            if find_spec('tensorboard') is None:
                self.logger.info('tensorboard=True: the package is not installed, so its curves are not written')
            elif not any('Tensorboard' in str(backend['type']) for backend in backends):
                self.logger.info('tensorboard=True: curves are written for TensorBoard too')
                visualizer = {**visualizer, 'vis_backends': [*backends, dict(type='TensorboardVisBackend')]}
        return super().build_visualizer(visualizer)

    def dump_config(self) -> None:
        """Write the config into the work directory as mmengine does, one that a checkpoint carried as ``config.py``."""
        name = Path(self.cfg.filename or f'{self.timestamp}.py').name
        self.cfg.dump(Path(self.work_dir, name if name.endswith(('.py', '.json', '.yaml', '.yml')) else 'config.py'))

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """As mmengine's, atomic on local disks."""
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with whole(Path(out_dir, filename)) as partial:
            super().save_checkpoint(out_dir, partial.name, *args, **kwargs)

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """As mmengine's; a damaged state of the training is an InputError."""
        with resumable(str(filename)):
            super().resume(filename, *args, **kwargs)

    def load_checkpoint(  # type: ignore[override]
        self, filename: str, map_location: Any = 'cpu', strict: bool = False, revise_keys: Any = None
    ) -> dict[str, Any]:
        """Load a file, ``torchvision://``, ``timm://`` or any other address mmengine knows into the model.

        Raises:
            InputError: the file cannot be read, fits nowhere, or (when strict) not completely.
        """
        resuming = bool(self.cfg.get('resume'))
        checkpoint = (read_resumed if resuming else fetch_checkpoint)(str(filename), map_location=map_location)
        absent = [key for key in ('meta', 'message_hub', 'optimizer') if key not in checkpoint]
        if resuming and absent:
            raise InputError(
                f'{filename} has no {", ".join(absent)} and cannot be resumed (best_* checkpoints hold the weights '
                'alone); start from it with load_from instead'
            )
        if resuming:
            keep_within(self, checkpoint)
            check_counters(self, checkpoint, str(filename))
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        if resuming:
            continue_run(self, checkpoint, str(filename))
            check_states(self, checkpoint, str(filename))
        strict = strict or resuming or self.cfg.get('load_strict', False)
        source, allow_partial = str(filename), bool(self.cfg.get('allow_partial', False))
        model, state = unwrapped(self.model), state_dict_of(checkpoint, source)
        check_finite(state, source)
        origin = None if resuming else origin_of(checkpoint, source)  # a resumed run's config has been compared
        how: dict[str, Any] = dict(strict=strict, allow_partial=allow_partial, origin=origin)
        report = load_weights(model, state, source=source, **how)
        if self.cfg.get('absorb_scales'):
            check_absorbed(model, str(filename))
        mark_loaded(self)
        self.logger.log(report.level, str(report) if resuming else log_line(report, origin))
        head = [name for name in report.loaded if not name.startswith('backbone.')]
        if head and not resuming and (words := other_classes(checkpoint.get('meta'), self.data)) is not None:
            self.logger.warning(f'{source}: {words}')
        return checkpoint
