"""The results of stages on disk: which stages have ended, and which follow from the stage before as it is now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.errors import InputError
from bireal_plugin.whole_file import whole

Result = dict[str, Any]  # a row of the stage table
RESULT, START = 'result.json', 'start.json'  # in a stage's folder: at its end, at its begin


def collect_results(work_dir: Path, names: Sequence[str]) -> list[Result]:
    """The rows of the stages that have ended, checkpoint paths relative to ``work_dir``; stale stages are left out."""
    stale = stale_stages(work_dir, names)
    rows = []
    for name in names:
        row = read_json(work_dir / name / RESULT)
        if row is not None and name not in stale:
            row.pop('digest', None)
            rows.append({**row, 'checkpoint': f'{name}/{row["checkpoint"]}'})
    return rows


def stale_stages(work_dir: Path, names: Sequence[str]) -> set[str]:
    """Stages that started from other weights than the stage before has now, or from a stage that did.

    A stage with weights of its own (``load_from``), or of a version that did not note its start, is none.
    """
    stale: set[str] = set()
    for previous, name in pairwise(names):
        start, result = read_json(work_dir / name / START), read_json(work_dir / previous / RESULT)
        if start is not None and (previous in stale or result is None or result.get('digest') != start['digest']):
            stale.add(name)
    return stale


def is_done(stage: Config, folder: Path) -> bool:
    """Whether a stage has ended, and is as long as its config wants it now."""
    result = read_json(folder / RESULT)
    if result is None:
        return False
    lengths = (('epochs', 'max_epochs'), ('iterations', 'max_iters'))
    return all(result.get(key, wanted) >= wanted for key, name in lengths if (wanted := stage.train_cfg.get(name)))


def checkpoint_of(work_dir: Path, name: str, *, wanted_by: str) -> Path:
    """The last checkpoint of a stage.

    Raises:
        InputError: the stage has not ended.
    """
    result = read_json(work_dir / name / RESULT)
    if result is None:
        raise InputError(
            f'stage {wanted_by!r} starts from stage {name!r}, which has not ended in {work_dir}; run it first'
        )
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
    """The content of a file, None where there is none."""
    return json.loads(path.read_text()) if path.is_file() else None


def write_json(path: Path, content: Any) -> None:
    """Write a file whole, its folder too if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + '\n')
