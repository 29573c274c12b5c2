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
from mmengine.registry import MODELS
from mmengine.runner import find_latest_checkpoint

from bireal_plugin.binary.absorb import absorb_scales
from bireal_plugin.errors import InputError
from bireal_plugin.models.pretrained import load_weights
from bireal_plugin.training.checkpoint import read_checkpoint, state_dict_of
from bireal_plugin.training.config import config_mistakes
from bireal_plugin.training.hooks import StageRecordHook
from bireal_plugin.training.runner import BiRealRunner

Result = dict[str, Any]


def stage_config(config: Config, name: str) -> Config:
    """The ordinary config of one stage: the whole without ``stages``, the stage's overrides merged in."""
    content = config.to_dict()
    stages = content.pop('stages')
    if name not in stages:
        raise InputError(f'there is no stage {name!r}; the stages are: {", ".join(stages)}')
    merged = Config(content, filename=config.filename)
    merged.merge_from_dict(stages[name])
    return merged


def check_stages(config: Config) -> None:
    """Build every stage's network without memory, so that a mistake in the last stage shows before the first trains.

    Raises:
        InputError: a stage that cannot be built, naming the stage and the mistake.
    """
    stages = config.stages
    if not isinstance(stages, dict) or not stages:
        raise InputError(f'stages must map stage names to config overrides, not {type(stages).__name__}')
    for name in stages:
        if not isinstance(stages[name], dict):
            raise InputError(f'stage {name!r} must be a dict of config overrides, not {stages[name]!r}')
        with config_mistakes(f'{config.filename}, stage {name}'), torch.device('meta'):
            MODELS.build(stage_config(config, name).model)


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
    if not resume:
        _move_aside(work_dir, chosen)

    for name in chosen:
        if resume and (work_dir / name / 'result.json').is_file():
            print_log(f'stage {name}: done already, see {work_dir / name}', logger='current')
            continue
        previous = names[names.index(name) - 1] if name != names[0] else None
        result = _run_stage(config, work_dir, name, previous, resume=resume)
        if is_main_process():
            _write_json(work_dir / name / 'result.json', result)
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
    absorb = stage.pop('absorb_scales', False)
    stage.work_dir = str(folder)
    # Two stages may start within one second, and mmengine tells its loggers and message hubs apart by this name.
    stage.experiment_name = f'{work_dir.name}_{name}_{time.time_ns()}'
    stage.resume = resume and find_latest_checkpoint(str(folder)) is not None
    if stage.resume:
        stage.load_from = None
    elif previous is not None and 'load_from' not in config.stages[name]:
        stage.load_from = str(_checkpoint_of(work_dir, previous, wanted_by=name))
        stage.load_strict = True
    if absorb and not stage.resume:
        stage.load_from = str(_absorbed(config, previous, stage.load_from, folder))

    record = StageRecordHook()
    with config_mistakes(f'{config.filename}, stage {name}'):
        runner = BiRealRunner.from_cfg(stage)
    runner.register_hook(record)
    print_log(f'stage {name}: {folder}', logger='current')
    runner.train()
    metrics = record.metrics or runner.val()
    checkpoint = Path(find_latest_checkpoint(str(folder)))
    return {
        'name': name,
        'epochs': runner.epoch,
        **{key.removeprefix('accuracy/'): value for key, value in metrics.items()},
        'seconds': round(record.seconds, 1),
        'checkpoint': checkpoint.name,
    }


def _checkpoint_of(work_dir: Path, name: str, *, wanted_by: str) -> Path:
    path = work_dir / name / 'result.json'
    if not path.is_file():
        raise InputError(
            f'stage {wanted_by!r} starts from stage {name!r}, which has not ended in {work_dir}; run it first'
        )
    return work_dir / name / json.loads(path.read_text())['checkpoint']


def _absorbed(config: Config, previous: str | None, source: str, folder: Path) -> Path:
    """The stage's starting point, a checkpoint of +-1 weights, written into its folder."""
    if previous is None:
        raise InputError('absorb_scales needs a stage before it, whose scales it absorbs')
    path = folder / 'start.pth'
    if is_main_process():
        model = MODELS.build(stage_config(config, previous).model)
        load_weights(model, state_dict_of(read_checkpoint(source), source), source=source, strict=True)
        absorb_scales(model)
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix('.partial')
        torch.save(dict(state_dict=model.state_dict()), partial)
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
