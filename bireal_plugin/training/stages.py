"""The recipe as chained runs: every stage an ordinary Runner in its own folder, starting from the stage before.

A config holds ``stages = dict(NAME=dict(overrides), ...)``, in order. An override is merged into the rest of the config
(``model``, ``train_cfg``, ``optim_wrapper``, ...); two keys belong to the stage itself:

* ``load_from``: weights to start from instead of the stage before (for the first stage: a pretrained ResNet).
* ``absorb_scales=True``: fold the magnitude scales into BatchNorm on the way in (Eq. 20), weights becoming +-1.

A stage that has ended leaves ``result.json`` in its folder; that file is what ``resume`` goes by.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

Result = dict[str, Any]


def run_stages(config: Config, work_dir: str | Path, *, only: str | None = None, resume: bool = False) -> list[Result]:
    """Train all stages (or ``only`` one, from the stage before it); the results of all stages run so far.

    Args:
        resume: continue in the stage and epoch where an earlier call stopped. Without it the stages start anew, and an
            earlier run's folders are moved into ``work_dir/earlier/``.

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
        _checkpoint_of(work_dir, previous[only], wanted_by=only)
    if not resume:
        _move_aside(work_dir, [*chosen, 'results.json'])

    for name in chosen:
        if resume and (work_dir / name / 'result.json').is_file():
            print_log(f'stage {name}: done already, see {work_dir / name}', logger='current')
        else:
            result = _run_stage(config, work_dir, name, previous.get(name), resume=resume)
            if is_main_process():
                _write_json(work_dir / name / 'result.json', result)
        if is_main_process():
            _write_json(work_dir / 'results.json', dict(stages=collect_results(work_dir, names)))
        barrier()
    return collect_results(work_dir, names)


def collect_results(work_dir: Path, names: Sequence[str]) -> list[Result]:
    """The rows of the stages that have ended, checkpoint paths relative to ``work_dir``."""
    rows = []
    for name in names:
        path = work_dir / name / 'result.json'
        if path.is_file():
            row = json.loads(path.read_text())
            rows.append({**row, 'checkpoint': f'{name}/{row["checkpoint"]}'})
    return rows


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
        stage.load_from = str(_checkpoint_of(work_dir, previous, wanted_by=name))
        stage.load_strict = True
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
    }


def _length(runner: BiRealRunner) -> Result:
    """How long a stage trained, in what its loop counts."""
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return dict(epochs=runner.epoch) if by_epoch else dict(iterations=runner.iter)


def _checkpoint_of(work_dir: Path, name: str, *, wanted_by: str) -> Path:
    path = work_dir / name / 'result.json'
    if not path.is_file():
        raise InputError(
            f'stage {wanted_by!r} starts from stage {name!r}, which has not ended in {work_dir}; run it first'
        )
    return work_dir / name / json.loads(path.read_text())['checkpoint']


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
        partial = path.with_suffix('.partial')
        torch.save(dict(state_dict=model.state_dict(), meta=Origin.of_run(stage.to_dict()).as_meta()), partial)
        os.replace(partial, path)
    barrier()
    return path


def _move_aside(work_dir: Path, names: Sequence[str]) -> None:
    old = [work_dir / name for name in names if (work_dir / name).exists()]
    if old and is_main_process():
        earlier = work_dir / 'earlier' / time.strftime('%Y%m%d_%H%M%S')
        while earlier.exists():
            earlier = earlier.with_name(f'{earlier.name}_')
        earlier.mkdir(parents=True)
        for folder in old:
            folder.rename(earlier / folder.name)
        print(f'an earlier run was found in {work_dir} and moved to {earlier}')
    barrier()


def _write_json(path: Path, content: Any) -> None:
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(content, indent=2) + '\n')
    os.replace(partial, path)
