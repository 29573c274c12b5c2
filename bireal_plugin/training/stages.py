"""The recipe as chained runs: every stage an ordinary Runner in its own folder, starting from the stage before.

A config holds ``stages = dict(NAME=dict(overrides), ...)``, in order. An override is merged into the rest of the config
(``model``, ``train_cfg``, ``optim_wrapper``, ...); two keys belong to the stage itself:

* ``load_from``: weights to start from instead of the stage before (for the first stage: a pretrained ResNet).
* ``absorb_scales=True``: fold the magnitude scales into BatchNorm on the way in (Eq. 20), weights becoming +-1.

``resume`` goes by what stages leave on disk: which have ended, and which follow from the stage before as it is now.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop

from bireal_plugin.checkpoints.file import (
    Origin,
    origin_of,
    read_checkpoint,
    state_dict_of,
    write_checkpoint,
)
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales
from bireal_plugin.training.config import config_mistakes
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint
from bireal_plugin.training.hooks.stage import StageRecordHook
from bireal_plugin.training.lock import only_run
from bireal_plugin.training.recipe import check_stages, stage_config, stage_model
from bireal_plugin.training.resume import compare, read_resumed
from bireal_plugin.training.runner import BiRealRunner
from bireal_plugin.training.saved_progress import resumable
from bireal_plugin.whole_file import write_whole

Result = dict[str, Any]  # a row of the stage table
RESULT, START = 'result.json', 'start.json'  # in a stage's folder: at its end, at its begin


def run_stages(
    config: Config, work_dir: str | Path, *, only: str | None = None, resume: bool = False, allow_changed: bool = False
) -> list[Result]:
    """Train all stages (or ``only`` one, from the stage before it); the results of all stages run so far.

    Args:
        resume: continue in the stage and epoch where an earlier call stopped; a stage that is to be longer now is
            continued, and one that started from other weights than the stage before has now starts anew. Without
            it all do. The folders of stages that start anew are moved into ``work_dir/earlier/``.
        allow_changed: resume even where a stage's network, data or place in the recipe is not what it was trained with.

    Raises:
        InputError: a mistake in the config or data, ``only`` whose predecessor has not ended, another run in
            ``work_dir``, or what ``check_trained`` refuses.
    """
    work_dir = Path(work_dir)
    check_stages(config)
    names: list[str] = list(config.stages)
    chosen = names if only is None else [stage_config(config, only).stage]
    previous = {name: before for before, name in pairwise(names)}
    if only in previous and 'load_from' not in config.stages[only]:
        checkpoint_of(work_dir, previous[only], wanted_by=only)
    config.allow_changed = allow_changed
    with only_run(work_dir):
        if resume:
            check_trained(config, work_dir)
        else:
            _move_aside(work_dir, [*chosen, 'results.json'], f'an earlier run was found in {work_dir}; it')

        for name in chosen:
            stale = resume and name in stale_stages(work_dir, names)
            done = resume and not stale and is_done(stage_config(config, name), work_dir / name)
            barrier()  # until all processes have looked
            if done:
                print_log(f'stage {name}: done already, see {work_dir / name}', logger='current')
            else:
                if stale:
                    _move_aside(work_dir, [name], f'stage {name}: {previous[name]} is not what it started from; it')
                elif is_main_process():
                    (work_dir / name / RESULT).unlink(missing_ok=True)  # of a stage that is to be longer now
                result = _run_stage(config, work_dir, name, previous.get(name), resume=resume)
                if is_main_process():
                    write_json(work_dir / name / RESULT, result)
            if is_main_process():
                write_json(work_dir / 'results.json', dict(stages=collect_results(work_dir, names)))
            barrier()
        return collect_results(work_dir, names)


def check_trained(config: Config, work_dir: Path) -> None:
    """Hold the stages that ``work_dir`` has checkpoints of against the recipe; say what changed after a stage ended.

    Raises:
        InputError: a stage was trained as another network, on other data or after other stages; unless that is allowed.
    """
    names: list[str] = list(config.stages)
    for folder in sorted(work_dir.glob('*/'), key=lambda each: [*names, each.name].index(each.name)):
        path = latest_checkpoint(folder)
        checkpoint = {} if path is None else read_resumed(str(path))
        origin = origin_of(checkpoint, str(path))
        if origin is None or origin.stage != folder.name or folder.name not in origin.recipe:
            continue
        theirs, ours = (
            [*each[: each.index(folder.name)], folder.name] if folder.name in each else []
            for each in (list(origin.recipe), names)
        )
        if theirs != ours and not config.allow_changed:
            raise InputError(
                f'{folder} was trained as the last of the stages {", ".join(theirs)}, and {config.filename} has '
                f'{", ".join(ours) or "no such stage"}: undo the change, train into another --work-dir, or go on all '
                'the same with --allow-changed'
            )
        if ours:
            stage = stage_config(config, folder.name)
            with resumable(str(path)):
                others, changes = compare(checkpoint, str(path), stage)
            if is_done(stage, folder) and (others or changes) and is_main_process():
                print(f'stage {folder.name} ended before this changed: {", ".join(map(str, (*others, *changes)))}')


def _run_stage(config: Config, work_dir: Path, name: str, previous: str | None, *, resume: bool) -> Result:
    stage = stage_config(config, name)
    folder = work_dir / name
    stage.work_dir = str(folder)
    started = latest_checkpoint(folder) if resume else None
    stage.resume = started is not None
    if started is not None:
        stage.load_from = str(started)
    elif previous is not None and 'load_from' not in config.stages[name]:
        stage.load_from = str(checkpoint_of(work_dir, previous, wanted_by=name))
        stage.load_strict = True
        if is_main_process():
            note_start(work_dir, previous, name)
    if stage.get('absorb_scales') and started is None:
        stage.load_from = str(_absorbed(config, stage, previous, stage.load_from))

    record = StageRecordHook()
    with config_mistakes(f'{config.filename}, stage {name}'):
        runner = BiRealRunner.from_cfg(stage)
    runner.register_hook(record)
    print_log(f'stage {name}: {folder}', logger='current')
    runner.train()
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        raise InputError(f'stage {name!r} left no checkpoint; default_hooks.checkpoint must save the last epoch')
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return {
        'name': name,
        **(dict(epochs=runner.epoch) if by_epoch else dict(iterations=runner.iter)),
        **{key.removeprefix('accuracy/'): value for key, value in record.metrics.items()},
        'seconds': round(record.seconds, 1),
        'checkpoint': checkpoint.name,
        'digest': weights_digest(checkpoint),
    }


def _absorbed(config: Config, stage: Config, previous: str | None, source: str) -> Path:
    """The starting point of ``stage``, a checkpoint of +-1 weights, written into its folder."""
    if previous is None:
        raise InputError('absorb_scales needs a stage before it, whose scales it absorbs')
    path = Path(stage.work_dir, 'start.pth')
    if is_main_process():
        model = stage_model(config, previous)
        load_weights(model, state_dict_of(read_checkpoint(source), source), source=source, strict=True)
        absorb_scales(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        meta = Origin.of_run(stage.to_dict(), stage.filename).as_meta()
        write_checkpoint(dict(state_dict=model.state_dict(), meta=meta), path)
    barrier()
    return path


def _move_aside(work_dir: Path, names: Sequence[str], reason: str) -> None:
    old = [work_dir / name for name in names if (work_dir / name).exists()]
    if old and is_main_process():
        earlier = work_dir / 'earlier' / time.strftime('%Y%m%d_%H%M%S')
        while earlier.exists():
            earlier = earlier.with_name(f'{earlier.name}_')
        earlier.mkdir(parents=True)
        for folder in old:
            folder.rename(earlier / folder.name)
        print(f'{reason} was moved to {earlier}')
    barrier()


def collect_results(work_dir: Path, names: Sequence[str]) -> list[Result]:
    """The rows of the stages that have ended, checkpoint paths relative to ``work_dir``; stale stages are left out."""
    rows = {name: read_json(work_dir / name / RESULT) for name in names if name not in stale_stages(work_dir, names)}
    listed = {
        name: {**row, 'checkpoint': f'{name}/{row["checkpoint"]}'}
        for name, row in rows.items()
        if row and 'checkpoint' in row
    }
    return [{key: value for key, value in row.items() if key != 'digest'} for row in listed.values()]


def stale_stages(work_dir: Path, names: Sequence[str]) -> set[str]:
    """Stages that started from other weights than the stage before has now, or from a stage that did.

    A stage with weights of its own (``load_from``), or of a version that did not note its start, is none.
    """
    stale: set[str] = set()
    for previous, name in pairwise(names):
        start, result = read_json(work_dir / name / START), read_json(work_dir / previous / RESULT)
        if (work_dir / name / START).is_file() and (
            previous in stale or None in (start, result) or result.get('digest') != start.get('digest')
        ):
            stale.add(name)
    return stale


def is_done(stage: Config, folder: Path) -> bool:
    """Whether a stage has ended, and is as long as its config wants it now."""
    result, wanted = read_json(folder / RESULT), stage.train_cfg
    lengths = (('epochs', 'max_epochs'), ('iterations', 'max_iters'))
    return bool(result) and all(result.get(key, 0) >= (wanted.get(name) or 0) for key, name in lengths)


def checkpoint_of(work_dir: Path, name: str, *, wanted_by: str) -> Path:
    """The last checkpoint of a stage, which must have ended."""
    result = read_json(work_dir / name / RESULT)
    if result is None or not isinstance(result.get('checkpoint'), str):
        told = f'stage {wanted_by!r} starts from stage {name!r}, which has not ended in {work_dir}; run it first'
        raise InputError(told)
    return work_dir / name / result['checkpoint']


def note_start(work_dir: Path, previous: str, name: str) -> None:
    """Write into the folder of stage ``name`` from which weights of ``previous`` it starts."""
    result = read_json(work_dir / previous / RESULT) or {}
    write_json(work_dir / name / START, dict(stage=previous, digest=result.get('digest')))


def weights_digest(checkpoint: Path) -> str:
    """A hash of the names and values of a checkpoint's weights, and of nothing else in it."""
    digest = hashlib.sha256()
    for name, value in sorted(state_dict_of(read_checkpoint(checkpoint), checkpoint).items()):
        digest.update(name.encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """The content of a file, an object; None where there is none, or a damaged one, whose work is then done again."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else None
    except (ValueError, RecursionError):
        content = None
    if path.is_file() and not isinstance(content, dict):
        print_log(f'{path} is damaged and counts as absent', logger='current', level=logging.WARNING)
        return None
    return content


def write_json(path: Path, content: Any) -> None:
    """Write a file whole, its folder too if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content, indent=2) + '\n')
