"""Names of mmengine's objects that begin with an underscore."""

from __future__ import annotations

from mmengine.model import PretrainedInit, update_init_info
from mmengine.runner import Runner
from torch import nn


def mark_loaded(runner: Runner) -> None:
    """Tell a Runner that the weights of its ``load_from`` are in its model, or it would load them once more."""
    runner._has_loaded = True


def note_initialisation(module: nn.Module, initializer: PretrainedInit) -> None:
    """Add ``initializer`` to the record of initial values that ``init_weights`` logs, if ``module`` keeps one."""
    if hasattr(module, '_params_init_info'):
        update_init_info(module, init_info=initializer._get_init_info())
