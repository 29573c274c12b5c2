"""Continuing a run: its checkpoint is held against the config as it is now, whose schedule holds from there on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner

from bireal_plugin.checkpoints.file import Checkpoint, origin_of, plain, read_checkpoint
from bireal_plugin.checkpoints.loading import fetch_checkpoint
from bireal_plugin.errors import InputError
from bireal_plugin.training.differences import Difference, mixed, rescheduled, retuned
from bireal_plugin.training.hooks.plain_checkpoint import DATA, data_facts, numbered_checkpoints


def read_resumed(path: str, *, map_location: Any = 'cpu') -> Checkpoint:
    """The content of a checkpoint to go on from.

    Raises:
        InputError: it cannot be read; the sentence names the newest one beside it that can.
    """
    try:
        return fetch_checkpoint(path, map_location=map_location)
    except InputError as error:
        others = [each for each in numbered_checkpoints(Path(path).parent) if each.name != Path(path).name]
        for older in others if Path(path).is_file() else ():
            with suppress(InputError):
                read_checkpoint(older)
                told = f'{error}; {older} is whole: delete {path}, and --resume goes on from there'
                break
        else:
            raise
        raise InputError(told) from error


def compare(
    checkpoint: Checkpoint, source: str, config: Config, data: Mapping[str, Any] | None = None
) -> tuple[list[Difference], list[Difference]]:
    """Differences between what trained a checkpoint and its config now: of network and data, and of the schedule.

    Args:
        data: ``data_facts`` of the run that is to go on; by default the one of them that the config tells.

    Raises:
        InputError: the first kind, unless the config says ``allow_changed``.
    """
    origin = origin_of(checkpoint, source)
    if origin is None:
        return [], []
    now, counted = plain(config.to_dict()), checkpoint['meta'].get(DATA) or {}
    if data is None:
        batch = (now.get('train_dataloader') or {}).get('batch_size') or 0
        data = dict(total_batch_size=batch * get_world_size())
    known = [key for key in data if counted.get(key) and data[key] and counted[key] != data[key]]
    others = [*mixed(origin.config, now), *(Difference(key, str(counted[key]), str(data[key])) for key in known)]
    if others and not config.get('allow_changed'):
        raise InputError(
            f'{source} was trained otherwise than {config.filename} says now: {", ".join(map(str, others))}; going on '
            'would mix two networks or sets of data: undo the change, train into another --work-dir, or go on all the '
            'same with --allow-changed'
        )
    return others, rescheduled(origin.config, now)


def keep_within(runner: Runner, checkpoint: Checkpoint) -> None:
    """Point a checkpoint's notes of other checkpoints into the work directory, which may be a copy or have moved.

    mmengine deletes the best one before by its full path when a better one comes.
    """
    elsewhere = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.out_dir is not None]
    notes = {} if elsewhere else checkpoint['message_hub'].get('runtime_info') or {}
    for key, value in notes.items():
        if key.startswith(('best_ckpt', 'last_ckpt')) and isinstance(value, str):
            notes[key] = str(Path(runner.work_dir, Path(value).name))


def continue_run(runner: Runner, checkpoint: Checkpoint, source: str) -> None:
    """Compare a checkpoint with the run that goes on from it, and put that run's schedule into it where it changed.

    Raises:
        InputError: see ``compare``.
    """
    origin = origin_of(checkpoint, source)
    if origin is None:
        runner.logger.warning(f'{source} does not tell what it was trained with, so nothing is compared')
        return
    others, changes = compare(checkpoint, source, runner.cfg, data_facts(runner))
    for each in (*(others or retuned(origin.config, plain(runner.cfg.to_dict()))), *changes):
        runner.logger.info(f'resumed with {each}')
    if any(each.key == '.randomness.seed' for each in others):
        checkpoint['meta'].pop('seed', None)  # or mmengine would go on with that one
    if others or changes:
        _reschedule(runner, checkpoint)


def _reschedule(runner: Runner, checkpoint: Checkpoint) -> None:
    """Step the runner's new schedulers to where the checkpoint is, and put them and the new rates into it."""
    epochs, iterations = checkpoint['meta']['epoch'], checkpoint['meta']['iter']
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        epochs = 0
    schedulers = runner.param_schedulers or []
    every = list(chain(*schedulers.values()) if isinstance(schedulers, dict) else schedulers)
    every = [each for each in every if not getattr(each, 'need_val_args', False)]  # what follows a metric starts anew
    length, rest = divmod(iterations, max(epochs, 1))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # of schedulers that step before the optimizer does
        for epoch in range(max(epochs, 1)):
            for _ in range(length + (rest if epoch == 0 else 0)):
                for scheduler in (each for each in every if not each.by_epoch):
                    scheduler.step()
            for scheduler in (each for each in every if each.by_epoch and epochs):
                scheduler.step()
    checkpoint['optimizer'] = _with_new_rates(runner, runner.optim_wrapper, checkpoint['optimizer'])
    if isinstance(schedulers, dict):
        states: Any = {name: [each.state_dict() for each in part] for name, part in schedulers.items()}
    else:
        states = [each.state_dict() for each in schedulers]
    checkpoint['param_schedulers'] = states


def _with_new_rates(runner: Runner, wrapper: Any, saved: dict[str, Any]) -> dict[str, Any]:
    """The optimizer's state as it is saved, with the rates and decays that its groups have now."""
    if isinstance(wrapper, OptimWrapperDict):
        return {name: _with_new_rates(runner, each, saved[name]) for name, each in wrapper.items()}
    now = wrapper.state_dict()
    options = wrapper.optimizer.defaults.keys()  # schedulers leave values of their own beside them
    ours, theirs = ([len(each['params']) for each in state['param_groups']] for state in (now, saved))
    if ours != theirs or not all(options <= each.keys() for each in saved['param_groups']):
        runner.logger.warning('the optimizer or its groups are others now; it starts without the state that was saved')
        return now
    return {**now, **{key: saved[key] for key in ('state', 'loss_scaler') if key in now and key in saved}}
