"""Parts of mmengine's objects that begin with an underscore, and its table of file handlers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import yaml
from mmengine.fileio import JsonHandler
from mmengine.fileio.handlers import registry_utils
from mmengine.model import PretrainedInit, update_init_info
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn

from bireal_plugin.hosts.torch_private import end_workers


def mark_loaded(runner: Runner) -> None:
    """Tell a Runner that the weights of its ``load_from`` are in its model, or it would load them once more."""
    runner._has_loaded = True


def validation_due(loop: BaseLoop) -> bool:
    """Whether a training loop of mmengine validates after the epoch, or the iteration, that it has ended last."""
    if isinstance(loop, EpochBasedTrainLoop):
        now, last = loop.epoch, loop.max_epochs
    elif isinstance(loop, IterBasedTrainLoop):
        now, last = loop.iter, loop.max_iters
    else:
        return True
    loop._decide_current_val_interval()
    return now >= loop.val_begin and (now % loop.val_interval == 0 or now == last)


def end_workers_of(loop: BaseLoop) -> None:
    """End the processes of a loop's data loader."""
    endless = getattr(loop, 'dataloader_iterator', None)  # of a loop by iterations
    end_workers(loop.dataloader, getattr(endless, '_iterator', None))


def accumulated_iterations(wrapper: OptimWrapper) -> int:
    """Iterations whose gradients an optimizer wrapper adds up before a step (``accumulative_counts``)."""
    return wrapper._accumulative_counts


def note_initialisation(module: nn.Module, initializer: PretrainedInit) -> None:
    """Add ``initializer`` to the record of initial values that ``init_weights`` logs, if ``module`` keeps one."""
    if hasattr(module, '_params_init_info'):
        update_init_info(module, init_info=initializer._get_init_info())


VALUES = 100_000  # of one file; aliases of aliases make any number of a few lines


class _PlainYaml(JsonHandler):
    """Reader of YAML that holds numbers, texts, lists and dictionaries, and no Python objects."""

    def load_from_fileobj(self, file: Any) -> Any:
        try:
            content = yaml.load(file, Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise ValueError(f'no YAML of plain values ({" ".join(str(error).split())})') from error
        waiting, count = [content], 0
        while waiting:
            value = waiting.pop()
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            count += 1 + len(inner)
            if count > VALUES:
                raise ValueError(f'its aliases (&, *) make more than {VALUES} values of it')
            waiting += inner
        return content


@contextmanager
def plain_yaml() -> Iterator[None]:
    """Let mmengine read YAML as plain values in this block; its own reader makes and calls what a tag names."""
    with patch.dict(registry_utils.file_handlers, yaml=_PlainYaml(), yml=_PlainYaml()):
        yield
