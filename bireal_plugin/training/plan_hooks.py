"""The recipe for users of other codebases, who have one Runner: switches as a pure function of epoch or iteration.

A phase is never stored: a resumed run derives it from where it is. Nothing that the optimizer or DDP holds is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from bireal_plugin.binary import MagnitudeAware, Sign, binary_convolutions, set_activation, set_weights, sign
from bireal_plugin.binary.absorb import absorb_scales, conv_norm_pairs
from bireal_plugin.binary.activation import REAL_ACTIVATIONS
from bireal_plugin.errors import InputError
from bireal_plugin.registry import WEIGHT_BINARIZERS
from bireal_plugin.training.optimizer import group_of

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
    """Calls :meth:`enter` when training starts, resumes, or crosses into another phase of ``plan``.

    Args:
        plan: see :func:`plan_of`.
        by_epoch: the plan counts epochs; otherwise iterations.
    """

    priority = 'HIGH'

    def __init__(self, plan: Plan, *, by_epoch: bool) -> None:
        self.plan, self.by_epoch = plan, by_epoch
        self.phase: str | None = None

    def enter(self, runner: Any, phase: str) -> None:
        """Put the model into ``phase``; must not depend on the phases before."""
        raise NotImplementedError

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


@HOOKS.register_module()
class TwoStepBinarizationHook(PlanHook):
    """Binarizes every BinaryConv2d of any model step by step within one run (two-step scheme, Sec. 3.5).

    ========== ==================================================================================================
    phase      state of the binary convolutions
    ========== ==================================================================================================
    relu, ...  real weights behind that real activation (``activations``), before ``step1``
    step1      sign before all of them; weights of the 1x1 convolutions binary
    step2      weights of all of them binary
    bn         weights exactly +-1, scales absorbed by BatchNorm (Eq. 20); learning rate 0 for every convolution
    ========== ==================================================================================================

    Args:
        step1, step2, bn: epoch or iteration (from 0) at which a phase begins; None leaves it out.
        activations: begins of real phases before ``step1``, such as ``dict(relu=0, leaky_clip=20, clip=30)``. If
            ``step1`` > 0 and this is None, training starts with 'clip'.
        by_epoch: the numbers count epochs; otherwise iterations.

    Raises:
        InputError: from before the first iteration: the model has no BinaryConv2d; latent weights would decay; the
            optimizer cannot hold convolutions still; BatchNorm is frozen or in ``norm_eval``, which would make the
            phase ``bn`` a no-op.
    """

    def __init__(
        self,
        step1: int = 0,
        step2: int | None = None,
        bn: int | None = None,
        activations: Mapping[str, int] | None = None,
        by_epoch: bool = True,
    ) -> None:
        if activations is None:
            activations = {'clip': 0} if step1 > 0 else {}
        unknown = set(activations) - set(REAL_ACTIVATIONS)
        if unknown:
            raise InputError(
                f'TwoStepBinarizationHook: no activation {unknown}; there are {", ".join(REAL_ACTIVATIONS)}'
            )
        begins = {**activations, 'step1': step1, 'step2': step2, 'bn': bn}
        super().__init__(plan_of(begins, owner='TwoStepBinarizationHook'), by_epoch=by_epoch)

    def before_train(self, runner: Any) -> None:
        model = _unwrapped(runner.model)
        if not any(True for _ in binary_convolutions(model)):
            raise InputError('TwoStepBinarizationHook: the model has no BinaryConv2d; is its backbone a BiRealResNet?')
        self._check_decay(runner, model)
        if any(phase == 'bn' for _, phase in self.plan):
            self._check_norms(model)
            _convolution_groups(runner, model)
        super().before_train(runner)

    def enter(self, runner: Any, phase: str) -> None:
        model = _unwrapped(runner.model)
        if phase in REAL_ACTIVATIONS:
            set_activation(model, phase)
            set_weights(model, 'real')
            return
        set_activation(model, 'sign')
        set_weights(model, 'step1' if phase == 'step1' else 'binary')
        if phase == 'bn':
            absorb_scales(model)
            # Running statistics differ between processes, so what was derived from them is made equal again.
            for _, conv, norm in conv_norm_pairs(model):
                for tensor in (*conv.state_dict().values(), *norm.state_dict().values()):
                    broadcast(tensor, src=0)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        super().before_train_iter(runner, batch_idx, data_batch)
        if self.phase == 'bn':
            # Every iteration, since a scheduler may have set it anew.
            for group in _convolution_groups(runner, _unwrapped(runner.model)):
                group['lr'] = 0.0

    def _check_decay(self, runner: Any, model: nn.Module) -> None:
        latent = {conv.weight for _, conv in binary_convolutions(model)}
        for group in runner.optim_wrapper.param_groups:
            if group.get('weight_decay', 0) and not latent.isdisjoint(group['params']):
                raise InputError(
                    f'TwoStepBinarizationHook: latent weights would decay by {group["weight_decay"]}; use '
                    "optim_wrapper=dict(constructor='BinaryOptimWrapperConstructor', ...), which keeps them apart"
                )

    def _check_norms(self, model: nn.Module) -> None:
        model.train()  # applies frozen_stages and norm_eval, as the loop will
        pairs = conv_norm_pairs(model)
        frozen = [
            name
            for name, _, norm in pairs
            if not norm.training or not any(parameter.requires_grad for parameter in norm.parameters())
        ]
        if frozen:
            raise InputError(
                f'TwoStepBinarizationHook: the phase bn retrains BatchNorm, but behind {len(frozen)} of {len(pairs)} '
                f'binary convolutions ({frozen[0]}, ...) it is frozen; set norm_eval=False and frozen_stages=-1 in the '
                'backbone, or leave bn out'
            )


@HOOKS.register_module()
class MagnitudeAwareHook(PlanHook):
    """Switches weight binarizers by plan and logs what the magnitude-aware scale is about (Sec. 3.3).

    Every ``interval`` iterations, for each layer ``L``, into the message hub and every visualizer backend:
    ``weights/L/magnitude`` mean |W_r|; ``weights/L/alpha`` ||Sign(W_r)|| / ||W_r|| (Eq. 9); ``weights/L/gradient``
    mean |dL/dW_r| (Eq. 18, 19); ``weights/L/flips`` share of signs that changed since the last log.

    Args:
        plan: begins of binarizers, such as ``dict(Sign=0, MagnitudeAware=10)``; None switches nothing.
        interval: iterations between logs; 0 logs nothing.
        absorb: at the end of training move the scales into BatchNorm, leaving weights of +-1 (Eq. 20), and save that
            network as ``absorbed.pth``.
        by_epoch: the plan counts epochs; otherwise iterations.
    """

    def __init__(
        self,
        plan: Mapping[str, int] | None = None,
        interval: int = 100,
        absorb: bool = False,
        by_epoch: bool = True,
    ) -> None:
        super().__init__(plan_of(plan or {}, owner='MagnitudeAwareHook'), by_epoch=by_epoch)
        for name in plan or {}:
            WEIGHT_BINARIZERS.get(name)
        self.interval, self.absorb = interval, absorb
        self.signs: dict[str, Tensor] = {}
        self.gradients: dict[str, float] = {}

    def before_train(self, runner: Any) -> None:
        self.signs = {}
        for name, conv in binary_convolutions(_unwrapped(runner.model)):
            if self.plan and not isinstance(conv.weight_binarizer, (Sign, MagnitudeAware)):
                raise InputError(f'MagnitudeAwareHook: {name} has {conv.weight_binarizer}, which no plan may replace')
        if self.absorb:
            conv_norm_pairs(_unwrapped(runner.model))
        super().before_train(runner)

    def enter(self, runner: Any, phase: str) -> None:
        for _, conv in binary_convolutions(_unwrapped(runner.model)):
            conv.weight_binarizer = WEIGHT_BINARIZERS.build(phase)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        super().before_train_iter(runner, batch_idx, data_batch)
        self.handles = []
        if not self._logs(runner):
            return
        # Optimizers clear gradients before hooks see them, so they are read as they are accumulated.
        self.gradients = {}
        for name, conv in binary_convolutions(_unwrapped(runner.model)):
            if conv.weight.requires_grad:
                self.handles.append(conv.weight.register_post_accumulate_grad_hook(self._reader(name)))

    def _reader(self, name: str) -> Any:
        def read(weight: Tensor) -> None:
            assert weight.grad is not None
            self.gradients[name] = weight.grad.abs().mean().item()

        return read

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        if not self._logs(runner):
            return
        for handle in self.handles:
            handle.remove()
        scalars = dict(self._measure(_unwrapped(runner.model)))
        for key, value in scalars.items():
            runner.message_hub.update_scalar(key, value)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)

    def after_train(self, runner: Any) -> None:
        if self.absorb:
            changed = absorb_scales(_unwrapped(runner.model))
            # The checkpoint hook has saved the last epoch already, before the scales moved.
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            runner.save_checkpoint(runner.work_dir, 'absorbed.pth', save_optimizer=False, meta=meta)
            runner.logger.info(f'MagnitudeAwareHook: absorbed.pth has +-1 weights in {changed} convolutions')

    def _logs(self, runner: Any) -> bool:
        return bool(self.interval) and self.every_n_train_iters(runner, self.interval)

    @torch.no_grad()
    def _measure(self, model: nn.Module) -> Iterable[tuple[str, float]]:
        for name, conv in binary_convolutions(model):
            weight = conv.weight.detach()
            yield f'weights/{name}/magnitude', weight.abs().mean().item()
            yield f'weights/{name}/alpha', weight.numel() ** 0.5 / max(weight.norm().item(), 1e-30)
            if name in self.gradients:
                yield f'weights/{name}/gradient', self.gradients[name]
            signs = sign(weight) > 0
            if name in self.signs:
                yield f'weights/{name}/flips', (signs != self.signs[name]).float().mean().item()
            self.signs[name] = signs


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]


def _convolution_groups(runner: Any, model: nn.Module) -> list[dict[str, Any]]:
    """The optimizer's groups that hold convolution weights and nothing else."""
    kind = {parameter: group_of(module) for module in model.modules() for parameter in module.parameters(recurse=False)}
    groups = []
    for group in runner.optim_wrapper.param_groups:
        convolutional = {kind.get(parameter, 'other').endswith('_conv') for parameter in group['params']}
        if convolutional == {True, False}:
            raise InputError(
                'TwoStepBinarizationHook: the phase bn holds convolutions still by a learning rate of 0, but they '
                'share a parameter group with BatchNorm; set optim_wrapper.constructor to '
                "'BinaryOptimWrapperConstructor'"
            )
        if convolutional == {True}:
            groups.append(group)
    return groups
