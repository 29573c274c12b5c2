"""Progress in a checkpoint (counters, curves, optimizer, schedulers), held against the run that is to go on from it.

mmengine and torch take it as it is: files that it names are deleted once there is a better checkpoint, and numbers of
another kind end the training at some later step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor

from bireal_plugin.checkpoints.file import Checkpoint, unusual
from bireal_plugin.errors import InputError, first_line
from bireal_plugin.training.hooks.plain_checkpoint import CURVE, VALIDATED

# Of an optimizer's state, what has the shape of its parameter.
SHAPED = ('momentum_buffer', 'exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'square_avg', 'acc_delta', 'sum', 'grad_avg')
LONGER = 100  # times as far as the run is long, that a checkpoint of it can be
DAMAGED = 'is damaged and cannot be resumed; go on from an earlier checkpoint, or start from its weights with load_from'
MISTAKES = (
    *(LookupError, TypeError, ValueError, AttributeError, AssertionError, ArithmeticError, RuntimeError),
    *(RecursionError, MemoryError),
)


@contextmanager
def resumable(source: str) -> Iterator[None]:
    """Turns what mmengine and torch raise over a checkpoint's progress into one sentence."""
    try:
        yield
    except InputError:
        raise
    except MISTAKES as error:
        raise InputError(f'{source} {DAMAGED} ({type(error).__name__}: {first_line(error)[:200]})') from error


def check_counters(runner: Runner, checkpoint: Checkpoint, source: str) -> None:
    """Refuse counters and curves that are none, and forget best checkpoints outside of the run's folder.

    Raises:
        InputError: the sentence names the entry.
    """
    meta, hub = checkpoint['meta'], checkpoint['message_hub']
    for key, value in (('meta', meta), ('message_hub', hub)):
        _demand(isinstance(value, Mapping), key, source)
    meta.pop('config', None)  # a text that mmengine would run
    for key, most in (('epoch', runner.max_epochs), ('iter', runner.max_iters)):
        _demand(_whole(meta.get(key)) and meta[key] <= LONGER * max(most, 1), f'meta.{key}', source)
    seed = meta.get('seed')
    _demand(seed is None or (_whole(seed) and seed < 2**32), 'meta.seed', source)
    curves, info, resumed = (hub.get(key, {}) for key in ('curves', 'runtime_info', 'resumed_keys'))
    for key, value in (('curves', curves), ('runtime_info', info), ('resumed_keys', resumed)):
        texts = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
        _demand(texts, f'message_hub.{key}', source)
    for name, curve in curves.items():
        parts = [curve.get(key) for key in CURVE] if isinstance(curve, Mapping) else []
        lines = [part for part in parts if isinstance(part, Tensor) and unusual(part) is None and part.dim() == 1]
        whole = len(lines) == len(CURVE) and len({len(line) for line in lines}) == 1
        _demand(whole, f'message_hub.curves.{name}', source)
    _demand(all(isinstance(keep, bool) for keep in resumed.values()), 'message_hub.resumed_keys', source)
    for key in (VALIDATED, 'keep_ckpt_ids'):
        listed = info.get(key, [])
        _demand(isinstance(listed, list) and all(map(_whole, listed)), f'message_hub.runtime_info.{key}', source)
    hooks = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    folders = [runner.work_dir, *(hook.out_dir for hook in hooks if hook.out_dir is not None)]
    for key in [key for key in info if key.startswith('best_')]:
        value = info[key]
        if key.startswith('best_ckpt'):  # which mmengine deletes, a folder too, when there is a better one
            if not (isinstance(value, str) and _is_best(Path(value), folders)):
                del info[key]
        else:
            _demand(_number(value), f'message_hub.runtime_info.{key}', source)


def _is_best(path: Path, folders: Sequence[str]) -> bool:
    inside = any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)
    return inside and path.name.startswith('best_') and path.suffix == '.pth' and not path.is_dir()


def check_states(runner: Runner, checkpoint: Checkpoint, source: str) -> None:
    """Refuse states of optimizer and schedulers that are of another kind than those of the run.

    Raises:
        InputError: the sentence names the entry.
    """
    optimizer = checkpoint['optimizer']
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        pairs = [(wrapper, optimizer[name]) for name, wrapper in runner.optim_wrapper.items()]
    else:
        pairs = [(runner.optim_wrapper, optimizer)]
    for wrapper, saved in pairs:
        _check_optimizer(wrapper, saved, source)
    now, then = runner.param_schedulers or [], checkpoint.get('param_schedulers') or []
    if isinstance(now, Mapping):
        now, then = ([*chain(*(part[name] for name in now))] for part in (now, then))
    for scheduler, saved in zip(now, then, strict=False):  # type: ignore[arg-type]
        _check_kinds(saved, scheduler.state_dict(), 'param_schedulers', source)


def _check_optimizer(wrapper: Any, saved: Any, source: str) -> None:
    groups = saved['param_groups']
    for group, now in zip(groups, wrapper.optimizer.param_groups, strict=True):
        ours = {key: value for key, value in now.items() if key != 'params'}
        _check_kinds(group, ours, 'optimizer.param_groups', source)
    places = [*chain(*(group['params'] for group in groups))]
    parameters = [*chain(*(group['params'] for group in wrapper.optimizer.param_groups))]
    for place, parameter in zip(places, parameters, strict=True):
        for name, value in saved['state'].get(place, {}).items():
            if isinstance(value, Tensor) or name in SHAPED:
                dense = isinstance(value, Tensor) and unusual(value) is None and value.is_floating_point()
                fits = dense and (name not in SHAPED or value.shape == parameter.shape)
                _demand(fits or (value is None and name in SHAPED), f'optimizer.state.{name}', source)
            else:
                _demand(value is None or _number(value), f'optimizer.state.{name}', source)


def _check_kinds(saved: Any, now: Mapping[str, Any], where: str, source: str) -> None:
    _demand(isinstance(saved, Mapping), where, source)
    for key, value in now.items():
        if key in saved and not callable(value):
            _demand(_alike(saved[key], value), f'{where}.{key}', source)


def _alike(saved: Any, now: Any) -> bool:
    """Whether two values are of one kind: numbers, None and numbers, texts, or sequences and mappings of them."""
    if isinstance(now, Mapping) and any(isinstance(key, str) for key in now):
        same = isinstance(saved, Mapping) and saved.keys() == now.keys()
        return same and all(_alike(saved[key], now[key]) for key in now)
    if isinstance(now, Mapping):  # of milestones
        return isinstance(saved, Mapping) and all(_number(item) for item in (*saved, *saved.values()))
    if isinstance(now, Sequence) and not isinstance(now, str):
        listed = isinstance(saved, Sequence) and not isinstance(saved, str) and len(saved) == len(now)
        return listed and all(map(_alike, saved, now))
    if isinstance(now, (str, bool)):
        return type(saved) is type(now)
    if now is None:
        return saved is None or isinstance(saved, bool) or _number(saved)
    return saved is None or _number(saved)


def _number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and unusual(value) is None
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return whole or isinstance(value, float)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _demand(whole: bool, entry: str, source: str) -> None:
    if not whole:
        raise InputError(f'{source} {DAMAGED} (its entry {entry})')
