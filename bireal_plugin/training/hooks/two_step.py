"""The two-step scheme within one run (Sec. 3.4.4), for any model that contains BinaryConv2d."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mmengine.dist import broadcast
from mmengine.registry import HOOKS
from torch import nn

from bireal_plugin.binary import binary_convolutions
from bireal_plugin.binary.activation import REAL_ACTIVATIONS
from bireal_plugin.binary.switch import PHASES, set_phase
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales, conv_norm_pairs
from bireal_plugin.hosts.torch_private import Convolution
from bireal_plugin.training.hooks.plan import PlanHook, plan_of, unwrapped
from bireal_plugin.training.optimizer import GROUPS


@HOOKS.register_module()
class TwoStepBinarizationHook(PlanHook):
    """Binarizes every BinaryConv2d of any model step by step within one run (two-step scheme, Sec. 3.4.4).

    | phase     | state of the binary convolutions
    | --------- | ------------------------------------------------------------------------------------------------
    | relu, ... | real weights behind that real activation (``activations``), before ``step1``
    | step1     | sign before all of them; weights of the 1x1 convolutions binary
    | step2     | weights of all of them binary
    | bn        | weights exactly +-1, scales absorbed by BatchNorm (Eq. 20); learning rate 0 for all but norms

    Args:
        step1, step2, bn: epoch or iteration (from 0) at which a phase begins; None leaves it out.
        activations: begins of real phases before ``step1``, such as ``dict(relu=0, leaky_clip=20, clip=30)``. If
            ``step1`` > 0 and this is None, training starts with 'clip'.
        by_epoch: the numbers count epochs; otherwise iterations.
        hold: in the phase bn 'all' holds every layer but norms still, as the paper does; 'convolutions' lets other
            layers train, such as a classifier.

    Raises:
        InputError: from before the first iteration: the model has no BinaryConv2d; latent weights would decay; the
            optimizer cannot hold those layers still; BatchNorm is frozen or in ``norm_eval``, which would make the
            phase ``bn`` a no-op.
    """

    def __init__(
        self,
        step1: int = 0,
        step2: int | None = None,
        bn: int | None = None,
        activations: Mapping[str, int] | None = None,
        by_epoch: bool = True,
        hold: Literal['all', 'convolutions'] = 'all',
    ) -> None:
        if hold not in ('all', 'convolutions'):
            raise InputError(f"TwoStepBinarizationHook(hold=...) is 'all' or 'convolutions', not {hold!r}")
        self.hold = hold
        if activations is None:
            activations = {'clip': 0} if step1 > 0 else {}
        if unknown := set(activations) - set(REAL_ACTIVATIONS):
            known = ', '.join(REAL_ACTIVATIONS)
            raise InputError(f'TwoStepBinarizationHook: no activation {unknown}; there are {known}')
        # By time, since mmengine sorts the keys of a config that it dumps by name.
        activations = dict(sorted(activations.items(), key=lambda item: item[1]))
        begins = {**activations, 'step1': step1, 'step2': step2, 'bn': bn}
        super().__init__(plan_of(begins, owner='TwoStepBinarizationHook'), by_epoch=by_epoch)

    def before_train(self, runner: Any) -> None:
        model = unwrapped(runner.model)
        if not any(True for _ in binary_convolutions(model)):
            raise InputError('TwoStepBinarizationHook: the model has no BinaryConv2d; is its backbone a BiRealResNet?')
        latent = {conv.weight for _, conv in binary_convolutions(model)}
        for group in runner.optim_wrapper.param_groups:
            if group.get('weight_decay', 0) and not latent.isdisjoint(group['params']):
                raise InputError(
                    f'TwoStepBinarizationHook: latent weights would decay by {group["weight_decay"]}; use '
                    "optim_wrapper=dict(constructor='BinaryOptimWrapperConstructor', ...), which keeps them apart"
                )
        if any(phase == 'bn' for _, phase in self.plan):
            _check_norms(model)
            _held_groups(runner, model, self.hold)
        super().before_train(runner)

    @classmethod
    def settle(cls, model: nn.Module, phase: str) -> None:
        if phase not in PHASES:
            raise InputError(f'TwoStepBinarizationHook: there is no phase {phase!r}')
        set_phase(model, phase)

    def enter(self, runner: Any, phase: str) -> None:
        super().enter(runner, phase)
        if phase == 'bn':
            model = unwrapped(runner.model)
            absorb_scales(model)
            # Running statistics differ between processes, so what was derived from them is made equal again.
            for _, conv, norm in conv_norm_pairs(model):
                for tensor in (*conv.state_dict().values(), *norm.state_dict().values()):
                    broadcast(tensor, src=0)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        super().before_train_iter(runner, batch_idx, data_batch)
        if self.phase == 'bn':
            # Every iteration, since a scheduler may have set it anew.
            for group in _held_groups(runner, unwrapped(runner.model), self.hold):
                group['lr'] = 0.0


def _check_norms(model: nn.Module) -> None:
    model.train()  # applies frozen_stages and norm_eval, as the loop will
    pairs = conv_norm_pairs(model)
    trains = [norm.training and any(each.requires_grad for each in norm.parameters()) for _, _, norm in pairs]
    if not all(trains):
        raise InputError(
            f'TwoStepBinarizationHook: the phase bn retrains BatchNorm, but behind {trains.count(False)} of '
            f'{len(pairs)} binary convolutions ({pairs[trains.index(False)][0]}, ...) it is frozen; set '
            'norm_eval=False and frozen_stages=-1 in the backbone, or leave bn out'
        )


def _held_groups(runner: Any, model: nn.Module, hold: str) -> list[dict[str, Any]]:
    """The optimizer's groups with parameters that are held still, none of them of a norm that trains."""
    held: dict[bool, set[nn.Parameter]] = {True: set(), False: set()}
    for module in model.modules():
        still = isinstance(module, Convolution) if hold == 'convolutions' else not isinstance(module, GROUPS['norm'])
        held[still].update(module.parameters(recurse=False))
    groups = [group for group in runner.optim_wrapper.param_groups if not held[True].isdisjoint(group['params'])]
    if not all(held[False].isdisjoint(group['params']) for group in groups):
        raise InputError(
            'TwoStepBinarizationHook: the phase bn holds layers still by a learning rate of 0, but they share a '
            "parameter group with BatchNorm; set optim_wrapper.constructor to 'BinaryOptimWrapperConstructor'"
        )
    return groups
