"""Optimizer groups by module type, the same in every stage, so that a schedule can name them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.hosts.torch_private import Convolution, NormWithStatistics

GROUPS = ('binary_conv', 'real_conv', 'norm', 'linear', 'other')


def group_of(module: nn.Module) -> str:
    """The group that a module's own parameters belong to."""
    if isinstance(module, BinaryConv2d):
        return 'binary_conv'
    if isinstance(module, Convolution):
        return 'real_conv'
    if isinstance(module, (NormWithStatistics, nn.GroupNorm, nn.LayerNorm)):
        return 'norm'
    return 'linear' if isinstance(module, nn.Linear) else 'other'


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BinaryOptimWrapperConstructor:
    """Five named groups: ``binary_conv, real_conv, norm, linear, other``; empty ones are left out.

    ``paramwise_cfg=dict(real_conv=dict(lr_mult=0.0), ...)`` scales a group's learning rate and weight decay. A latent
    weight never decays: as soon as a binary convolution takes the sign of its input or weight, the decay of the whole
    group ``binary_conv`` is 0 (decay would only drive latent weights to 0 and flip signs at random).

    Raises:
        InputError: ``paramwise_cfg`` names something else than a group, lr_mult or decay_mult.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        self.wrapper = dict(optim_wrapper_cfg)
        self.optimizer = dict(self.wrapper.pop('optimizer'))
        self.multipliers = {name: dict(options) for name, options in (paramwise_cfg or {}).items()}
        for name, options in self.multipliers.items():
            if name not in GROUPS or not set(options) <= {'lr_mult', 'decay_mult'}:
                raise InputError(
                    f'paramwise_cfg has {name}={options}; the groups are {", ".join(GROUPS)}, '
                    'each with lr_mult and decay_mult'
                )

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Optimizer parameter groups of ``model``, every trainable parameter once."""
        members: dict[str, list[nn.Parameter]] = {name: [] for name in GROUPS}
        seen: set[nn.Parameter] = set()
        latent = False
        for module in model.modules():
            if isinstance(module, BinaryConv2d):
                latent |= module.binary_input or module.binary_weight
            for parameter in module.parameters(recurse=False):
                if parameter.requires_grad and parameter not in seen:
                    seen.add(parameter)
                    members[group_of(module)].append(parameter)

        result = []
        for name in GROUPS:
            if not members[name]:
                continue
            options = self.multipliers.get(name, {})
            group: dict[str, Any] = dict(params=members[name], name=name)
            if 'lr' in self.optimizer:
                group['lr'] = self.optimizer['lr'] * options.get('lr_mult', 1.0)
            decay = self._weight_decay() * options.get('decay_mult', 1.0)
            group['weight_decay'] = 0.0 if name == 'binary_conv' and latent else decay
            result.append(group)
        return result

    def _weight_decay(self) -> float:
        """That of the config, else the optimizer's own, which is 0.01 of AdamW."""
        if 'weight_decay' in self.optimizer:
            return self.optimizer['weight_decay']
        kind: Any = self.optimizer.get('type')
        built = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
        parameters = inspect.signature(built).parameters if callable(built) else {}
        default = parameters['weight_decay'].default if 'weight_decay' in parameters else 0.0
        return default if isinstance(default, (int, float)) else 0.0

    def __call__(self, model: nn.Module) -> OptimWrapper:
        if is_model_wrapper(model):
            model = model.module  # type: ignore[assignment]
        optimizer = OPTIMIZERS.build({**self.optimizer, 'params': self.groups(model)})
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.wrapper}, default_args=dict(optimizer=optimizer))
