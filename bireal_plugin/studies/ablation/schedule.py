"""Training the grid: unit after unit, or several at a time, each by ``run_stages`` in its own folder.

A unit that has ended is known by its ``result.json``; one that was interrupted continues from its last checkpoint. So
the whole grid resumes by being started again. The settings that it was begun with are kept, so that units trained with
others are not compared with them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, set_start_method
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.grid import Roles, Unit, expected_seconds, unit_config
from bireal_plugin.training import run_stages, stage_config
from bireal_plugin.training.stages import Result, collect_results, read_json, write_json

SETTINGS = 'settings.json'
# Where the data lie and who watches may change between two starts of the same grid.
MOVABLE = ('data_root', 'root', 'num_workers', 'visualizer', 'default_hooks')


def keep_settings(config: Config, work_dir: Path) -> None:
    """Write the config to ``work_dir``, or check that it is the one that this grid was begun with.

    Raises:
        InputError: it is another one; results of both would be mixed.
    """
    settings = json.loads(json.dumps(_without_movable(config.to_dict()), default=str))
    begun = read_json(work_dir / SETTINGS)
    if begun is None:
        write_json(work_dir / SETTINGS, settings)
    elif changed := sorted(_differences(begun, settings)):
        raise InputError(
            f'{work_dir} was begun with another {", ".join(changed[:4])}; its units would not compare with new '
            'ones: take another --work-dir, or the settings from before'
        )


def _without_movable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_movable(item) for key, item in value.items() if key not in MOVABLE}
    return [_without_movable(item) for item in value] if isinstance(value, (list, tuple)) else value


def _differences(old: Any, new: Any, key: str = '') -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() | new.keys():
            yield from _differences(old.get(name), new.get(name), f'{key}.{name}' if key else name)
    elif old != new:
        yield key


def run_grid(
    config: Config,
    roles: Roles,
    units: Sequence[Unit],
    work_dir: Path,
    *,
    jobs: int = 1,
    say: Callable[[str], None] = print,
    ended: Callable[[Unit], None] = lambda unit: None,
) -> None:
    """Train the units that have not ended yet.

    Args:
        units: each behind the one it starts from, as ``plan_units`` gives them.
        jobs: units trained at once, each in a process of its own with its share of the cores; 1 trains here.
        say: takes a line of progress when a unit has ended.
        ended: called after each unit.

    Raises:
        InputError: units failed; all others that do not start from them have been trained before.
    """
    results = {unit.place: result for unit in units if (result := unit_result(work_dir, unit)) is not None}
    pending = [unit for unit in units if unit.place not in results]
    if results:
        say(f'{len(results)} of {len(units)} units had ended before')
    failed: dict[Unit, InputError] = {}
    running: dict[Future[None], Unit] = {}
    with _executor(jobs) as submit:
        while pending or running:
            ready = [unit for unit in pending if unit.after is None or unit.after in results]
            for unit in ready[: jobs - len(running)]:
                pending.remove(unit)
                source = unit.after and str(work_dir / unit.after[0] / results[unit.after]['checkpoint'])
                running[submit(train_unit, config, roles, unit, str(work_dir), source)] = unit
            if not running:
                break  # what is pending starts from a unit that failed
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit = running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise InputError(
                        'a training process was killed (out of memory?); start the same command again with fewer --jobs'
                    ) from error
                except InputError as error:
                    failed[unit] = error
                    say(f'unit {len(results) + len(failed)} of {len(units)}: {unit} failed: {error}')
                    continue
                results[unit.place] = unit_result(work_dir, unit) or {}
                say(_progress(config, units, unit, results, jobs=jobs))
                ended(unit)
    if failed:
        unit, first = next(iter(failed.items()))
        raise InputError(f'{len(failed) + len(pending)} of {len(units)} units are not trained; {unit}: {first}')


def unit_result(work_dir: Path, unit: Unit) -> Result | None:
    """Content of the unit's ``result.json``, with its checkpoint relative to its folder; None if it has not ended."""
    return next(iter(collect_results(work_dir / unit.folder, [unit.stage])), None)


def train_unit(config: Config, roles: Roles, unit: Unit, work_dir: str, source: str | None) -> None:
    """Train one unit, from its last checkpoint if it has one, else from ``source``."""
    import_modules_from_strings(**config.get('custom_imports', dict(imports=[])))  # a new process has not done it
    first = unit.stage == (roles.real if unit.cell is None else roles.binary)[0]
    stages = unit_config(config, unit, roles, start=source if first else None)
    run_stages(stages, Path(work_dir, unit.folder), only=unit.stage, resume=True)


def _progress(
    config: Config, units: Sequence[Unit], unit: Unit, results: Mapping[tuple[str, str], Result], *, jobs: int
) -> str:
    known = [(stage, epochs_of(config, stage), row['seconds']) for (_, stage), row in results.items()]
    remaining = [(other.stage, epochs_of(config, other.stage)) for other in units if other.place not in results]
    seconds = expected_seconds(remaining, known, jobs=jobs) or 0.0
    row = results[unit.place]
    accuracy = f'top-1 {row["top1"]:.2f} %, ' if 'top1' in row else ''
    minutes = round(seconds / 60)
    left = f'{minutes // 60} h {minutes % 60} min' if minutes >= 60 else f'{minutes} min'
    end = time.strftime('%H:%M', time.localtime(time.time() + seconds))
    return f'unit {len(results)} of {len(units)}: {unit}, {accuracy}{row["seconds"]:.0f} s; ETA {left} ({end})'


def epochs_of(config: Config, stage: str) -> int:
    """Length of a stage in epochs (in iterations where its loop counts these)."""
    loop = stage_config(config, stage).train_cfg
    return int(loop.get('max_epochs') or loop.get('max_iters', 1))


@contextlib.contextmanager
def _executor(jobs: int) -> Iterator[Callable[..., Future[None]]]:
    """A function like ``Executor.submit``, for this process or for ``jobs`` quiet ones."""
    if jobs == 1:
        yield _at_once
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    # Not forked: a copied process would inherit torch's threads and any CUDA context in a broken state.
    with ProcessPoolExecutor(jobs, get_context('spawn'), _be_quiet, (threads, os.getpid())) as pool:

        def submit(*task: Any) -> Future[None]:
            # Interrupts are ignored by the process that this may start, as long as it lives.
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                return pool.submit(*task)
            finally:
                signal.signal(signal.SIGINT, before)

        try:
            yield submit
        except KeyboardInterrupt:
            for child in active_children():
                child.terminate()
            raise


def _at_once(function: Callable[..., None], *arguments: Any) -> Future[None]:
    future: Future[None] = Future()
    try:
        function(*arguments)
        future.set_result(None)
    except InputError as error:
        future.set_exception(error)
    return future


def _be_quiet(threads: int, parent: int) -> None:
    """Write nothing to the console, where logs of several processes would mix; each stage's folder has its own."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    set_start_method('fork', force=True)  # as mmengine will, which warns where it is not so before
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)


def _end_with(parent: int) -> None:
    """End with the parent: a worker without it would go on training in a folder that a new start uses."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
