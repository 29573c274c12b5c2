"""The recipe as chained runs: every stage an ordinary Runner in its own folder, starting from the stage before.

A config holds ``stages = dict(NAME=dict(overrides), ...)``, in order. An override is merged into the rest of the config
(``model``, ``train_cfg``, ``optim_wrapper``, ...); two keys belong to the stage itself:

* ``load_from``: weights to start from instead of the stage before (for the first stage: a pretrained ResNet).
* ``absorb_scales=True``: fold the magnitude scales into BatchNorm on the way in (Eq. 20), weights becoming +-1.

``stage_results.py`` has what stages leave on disk, which is what ``resume`` goes by.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop

from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.checkpoints.origin import Origin
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales
from bireal_plugin.training.config import config_mistakes
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint
from bireal_plugin.training.hooks.stage import StageRecordHook
from bireal_plugin.training.recipe import check_stages, stage_config, stage_model
from bireal_plugin.training.runner import BiRealRunner
from bireal_plugin.training.stage_results import (
    RESULT,
    Result,
    checkpoint_of,
    collect_results,
    is_done,
    note_start,
    stale_stages,
    weights_digest,
    write_json,
)
from bireal_plugin.whole_file import whole


def run_stages(config: Config, work_dir: str | Path, *, only: str | None = None, resume: bool = False) -> list[Result]:
    """Train all stages (or ``only`` one, from the stage before it); the results of all stages run so far.

    Args:
        resume: continue in the stage and epoch where an earlier call stopped; a stage that is to be longer now is
            continued, and one that started from other weights than the stage before has now starts anew. Without
            it all do. The folders of stages that start anew are moved into ``work_dir/earlier/``.

    Raises:
        InputError: a mistake in the config or data, or ``only`` whose predecessor has not ended.
    """
    work_dir = Path(work_dir)
    check_stages(config)
    names = list(config.stages)
    if only is not None and only not in names:
        raise InputError(f'there is no stage {only!r}; the stages are: {", ".join(names)}')
    chosen = names if only is None else [only]
    previous: dict[str, str] = dict(zip(names[1:], names, strict=False))
    if only in previous and 'load_from' not in config.stages[only]:
        checkpoint_of(work_dir, previous[only], wanted_by=only)
    if not resume:
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


def _run_stage(config: Config, work_dir: Path, name: str, previous: str | None, *, resume: bool) -> Result:
    stage = stage_config(config, name)
    folder = work_dir / name
    absorb = stage.get('absorb_scales', False)
    stage.work_dir = str(folder)
    # Two stages may start within one second, and mmengine tells its loggers, hubs and visualizers apart by their names.
    stage.experiment_name = f'{work_dir.name}_{name}_{time.time_ns()}'
    if 'visualizer' in stage:
        stage.visualizer.name = stage.experiment_name
    started = latest_checkpoint(folder) if resume else None
    stage.resume = started is not None
    if started is not None:
        stage.load_from = str(started)
    elif previous is not None and 'load_from' not in config.stages[name]:
        stage.load_from = str(checkpoint_of(work_dir, previous, wanted_by=name))
        stage.load_strict = True
        if is_main_process():
            note_start(work_dir, previous, name)
    if absorb and started is None:
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
    return {
        'name': name,
        **_length(runner),
        **{key.removeprefix('accuracy/'): value for key, value in record.metrics.items()},
        'seconds': round(record.seconds, 1),
        'checkpoint': checkpoint.name,
        'digest': weights_digest(checkpoint),
    }


def _length(runner: BiRealRunner) -> Result:
    """Length of a stage's training: epochs, or iterations of a loop that counts those."""
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return dict(epochs=runner.epoch) if by_epoch else dict(iterations=runner.iter)


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
        with whole(path) as partial:
            torch.save(dict(state_dict=model.state_dict(), meta=meta), partial)
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
