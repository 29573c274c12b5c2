"""Optimizer groups by module type, the same in every stage, so that a schedule can name them; AMP on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper as AcceleratedAmp
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn
from torch.amp import GradScaler

from bireal_plugin.binary import BinaryConv2d, binary_convolutions
from bireal_plugin.errors import InputError
from bireal_plugin.hosts.torch_private import Convolution, NormWithStatistics
from bireal_plugin.training.hooks.plan import unwrapped

# Kinds of module whose own parameters belong to a group; the first that fits is taken.
GROUPS: dict[str, Any] = dict(
    binary_conv=BinaryConv2d,
    real_conv=Convolution,
    norm=(NormWithStatistics, nn.GroupNorm, nn.LayerNorm),
    linear=nn.Linear,
    other=nn.Module,
)


def group_of(module: nn.Module) -> str:
    """The group that a module's own parameters belong to."""
    return next(name for name, kinds in GROUPS.items() if isinstance(module, kinds))


@OPTIM_WRAPPERS.register_module(force=True)
class AmpOptimWrapper(AcceleratedAmp):
    """mmengine's, which it takes the place of; mmengine's own refuses a machine without accelerator.

    There the forward pass is in bfloat16, whose range needs no scaling of the loss, and ``loss_scale`` does nothing.

    Args:
        dtype: 'bfloat16' or None, which means it, on a CPU; elsewhere as in mmengine.
        options: as in mmengine.

    Raises:
        InputError: another ``dtype`` on a CPU.
    """

    def __init__(self, loss_scale: Any = 'dynamic', dtype: str | torch.dtype | None = None, **options: Any) -> None:
        if get_device() != 'cpu':
            super().__init__(loss_scale, dtype, **options)  # type: ignore[arg-type]
            return
        if dtype not in (None, 'bfloat16', torch.bfloat16):
            raise InputError(f"AmpOptimWrapper: a CPU trains in dtype='bfloat16', not in {dtype}; give that, or a GPU")
        options.pop('use_fsdp', None)
        OptimWrapper.__init__(self, **options)
        self.cast_dtype, self._scale_update_param = torch.bfloat16, None
        self.loss_scaler = GradScaler('cpu', enabled=False)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BinaryOptimWrapperConstructor:
    """Five named groups: ``binary_conv, real_conv, norm, linear, other``; empty ones are left out.

    ``paramwise_cfg=dict(real_conv=dict(lr_mult=0.0), ...)`` scales a group's learning rate and weight decay; None does
    not. A latent weight never decays: as soon as a binary convolution takes the sign of its input or weight, the decay
    of the whole group ``binary_conv`` is 0 (decay would only drive latent weights to 0 and flip signs at random).

    Raises:
        InputError: ``paramwise_cfg`` names something else than a group, lr_mult or decay_mult.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        self.wrapper = dict(optim_wrapper_cfg)
        self.optimizer = dict(self.wrapper.pop('optimizer'))
        self.multipliers = {name: dict(options or {}) for name, options in (paramwise_cfg or {}).items()}
        for name, options in self.multipliers.items():
            if name not in GROUPS or not set(options) <= {'lr_mult', 'decay_mult'}:
                groups = f'{", ".join(GROUPS)}, each with lr_mult and decay_mult'
                raise InputError(f'paramwise_cfg has {name}={options}; the groups are {groups}')

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Optimizer parameter groups of ``model``, every trainable parameter once."""
        owners: dict[nn.Parameter, str] = {}
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.requires_grad:
                    owners.setdefault(parameter, group_of(module))
        # The optimizer's own decay where the config says none: 0.01 of AdamW.
        probe = OPTIMIZERS.build({**self.optimizer, 'params': [nn.Parameter(torch.zeros(1))]})
        weight_decay = probe.defaults.get('weight_decay', 0.0)
        latent = any(conv.binary_input or conv.binary_weight for _, conv in binary_convolutions(model))

        result: list[dict[str, Any]] = []
        for name in (name for name in GROUPS if name in owners.values()):
            options = self.multipliers.get(name, {})
            members = [parameter for parameter, owner in owners.items() if owner == name]
            decay = 0.0 if latent and name == 'binary_conv' else weight_decay * options.get('decay_mult', 1.0)
            result.append(dict(params=members, name=name, weight_decay=decay))
            if 'lr' in self.optimizer:
                result[-1]['lr'] = self.optimizer['lr'] * options.get('lr_mult', 1.0)
        return result

    def __call__(self, model: nn.Module) -> OptimWrapper:
        optimizer = OPTIMIZERS.build({**self.optimizer, 'params': self.groups(unwrapped(model))})
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.wrapper}, default_args=dict(optimizer=optimizer))
