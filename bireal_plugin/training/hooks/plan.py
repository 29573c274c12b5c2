"""Plans: switches within one Runner as a pure function of epoch or iteration, for users of other codebases.

A resumed run derives its phase from where it is; checkpoints tell theirs for those that load them. Nothing that the
optimizer or DDP holds is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import nn

from bireal_plugin.checkpoints.file import PHASES
from bireal_plugin.errors import InputError

Plan = list[tuple[int, str]]


def plan_of(begins: Mapping[str, int | None], *, owner: str) -> Plan:
    """``[(begin, phase), ...]`` in time order from ``{phase: begin}``; phases that begin at None are left out.

    Raises:
        InputError: a negative begin, or phases that do not begin in the order given.
    """
    plan = [(begin, phase) for phase, begin in begins.items() if begin is not None]
    times = [begin for begin, _ in plan]
    if any(not isinstance(time, int) or time < 0 for time in times) or times != sorted(set(times)):
        listed = ', '.join(f'{phase}={begin}' for begin, phase in plan)
        raise InputError(f'{owner}: phases must begin at increasing whole numbers >= 0, got {listed}')
    return plan


def phase_at(plan: Plan, time: int) -> str | None:
    """The phase that epoch or iteration ``time`` (from 0) belongs to; None before the first."""
    return next((phase for begin, phase in reversed(plan) if time >= begin), None)


class PlanHook(Hook):
    """Calls ``enter`` when training starts, resumes, or crosses into another phase of ``plan``.

    Checkpoints hold the phase in ``meta.phases``.

    Args:
        plan: see ``plan_of``.
        by_epoch: the plan counts epochs; otherwise iterations.
    """

    priority = 'HIGH'

    def __init__(self, plan: Plan, *, by_epoch: bool) -> None:
        self.plan, self.by_epoch = plan, by_epoch
        self.phase: str | None = None

    @classmethod
    def settle(cls, model: nn.Module, phase: str) -> None:
        """Give ``model`` the layers of ``phase`` without changing a weight.

        Raises:
            InputError: there is no such phase.
        """
        raise NotImplementedError

    def before_run(self, runner: Any) -> None:
        """Give a model in training the layers of its first phase, against which weights that it starts from are held.

        The optimizer was built before, for layers that become binary.
        """
        phase = phase_at(self.plan, 0)
        if phase is not None and isinstance(runner.optim_wrapper, OptimWrapper):
            self.settle(unwrapped(runner.model), phase)

    def enter(self, runner: Any, phase: str) -> None:
        """Put the model into ``phase``; must not depend on the phases before."""
        self.settle(unwrapped(runner.model), phase)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if self.phase is not None:
            checkpoint['meta'].setdefault(PHASES, {})[type(self).__name__] = self.phase

    def before_train(self, runner: Any) -> None:
        self.phase = None
        self._advance(runner)

    def before_train_epoch(self, runner: Any) -> None:
        if self.by_epoch:
            self._advance(runner)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if not self.by_epoch:
            self._advance(runner)

    def _advance(self, runner: Any) -> None:
        time = runner.epoch if self.by_epoch else runner.iter
        phase = phase_at(self.plan, time)
        if phase is not None and phase != self.phase:
            self.enter(runner, phase)
            self.phase = phase
            unit = 'epoch' if self.by_epoch else 'iteration'
            runner.logger.info(f'{type(self).__name__}: {phase} from {unit} {time + 1}')


def settle_phases(model: nn.Module, phases: Any) -> None:
    """Put ``model`` into the phases that a checkpoint tells, ``{name of a hook: phase}``.

    Raises:
        InputError: a hook or phase that does not exist.
    """
    hooks = {kind.__name__: kind for kind in PlanHook.__subclasses__()}
    for name, phase in phases.items() if isinstance(phases, Mapping) else [(phases, None)]:
        if name not in hooks or not isinstance(phase, str):
            raise InputError(f'no hook {name!r} with a phase {phase!r} is known; there are {", ".join(hooks)}')
        hooks[name].settle(model, phase)


def unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]
