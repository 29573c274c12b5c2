"""Weight binarizers within one run: switched by plan, with the quantities of Sec. 3.4.2 logged per layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from mmengine.registry import HOOKS
from torch import Tensor, nn

from bireal_plugin.binary import MagnitudeAware, Sign, binary_convolutions, sign
from bireal_plugin.errors import InputError
from bireal_plugin.folding.absorb import absorb_scales, conv_norm_pairs
from bireal_plugin.registry import WEIGHT_BINARIZERS
from bireal_plugin.training.hooks.plan import PlanHook, plan_of, unwrapped


@HOOKS.register_module()
class MagnitudeAwareHook(PlanHook):
    """Switches weight binarizers by plan and logs magnitudes, scales and gradients of latent weights (Sec. 3.4.2).

    Every ``interval`` iterations, for each layer ``L``, into the message hub and every visualizer backend:
    ``weights/L/magnitude`` mean |W_r|; ``weights/L/alpha`` ||Sign(W_r)|| / ||W_r|| in the L1,1 norm (Eq. 9), which is
    1 / mean |W_r|; ``weights/L/gradient`` mean |dL/dW_r| (Eq. 18, 19); ``weights/L/flips`` share of signs that changed
    since the last log.

    Args:
        plan: begins of binarizers, such as ``dict(Sign=0, MagnitudeAware=10)``; None switches nothing.
        interval: iterations between logs; 0 logs nothing.
        absorb: at the end of training move the scales into BatchNorm, leaving weights of +-1 (Eq. 20), and save that
            network as ``absorbed.pth``.
        by_epoch: the plan counts epochs; otherwise iterations.
    """

    def __init__(
        self, plan: Mapping[str, int] | None = None, interval: int = 100, absorb: bool = False, by_epoch: bool = True
    ) -> None:
        super().__init__(plan_of(plan or {}, owner='MagnitudeAwareHook'), by_epoch=by_epoch)
        for name in plan or {}:
            WEIGHT_BINARIZERS.get(name)
        self.interval, self.absorb = interval, absorb
        self.signs: dict[str, Tensor] = {}
        self.gradients: dict[str, float] = {}

    def before_train(self, runner: Any) -> None:
        self.signs = {}
        for name, conv in binary_convolutions(unwrapped(runner.model)):
            if self.plan and not isinstance(conv.weight_binarizer, (Sign, MagnitudeAware)):
                raise InputError(f'MagnitudeAwareHook: {name} has {conv.weight_binarizer}, which no plan may replace')
        if self.absorb:
            conv_norm_pairs(unwrapped(runner.model))
        super().before_train(runner)

    @classmethod
    def settle(cls, model: nn.Module, phase: str) -> None:
        for _, conv in binary_convolutions(model):
            conv.weight_binarizer = WEIGHT_BINARIZERS.build(phase)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        super().before_train_iter(runner, batch_idx, data_batch)
        self.handles = []
        if not self.every_n_train_iters(runner, self.interval):
            return
        self.gradients = {}
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)  # of mixed precision; None in float32
        scale = 1.0 if scaler is None else scaler.get_scale()
        for name, conv in binary_convolutions(unwrapped(runner.model)):
            if conv.weight.requires_grad:
                read = partial(self._read_gradient, name, scale)
                self.handles.append(conv.weight.register_post_accumulate_grad_hook(read))

    def _read_gradient(self, name: str, scale: float, weight: Tensor) -> None:
        """Called as gradients are accumulated, since optimizers clear them before other hooks see them."""
        assert weight.grad is not None
        self.gradients[name] = weight.grad.abs().mean().item() / scale

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        for handle in self.handles:
            handle.remove()
        scalars = dict(self._measure(unwrapped(runner.model)))
        for key, value in scalars.items():
            runner.message_hub.update_scalar(key, value)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)

    def after_train(self, runner: Any) -> None:
        if self.absorb:
            changed = absorb_scales(unwrapped(runner.model))
            # The checkpoint hook has saved the last epoch already, before the scales moved.
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            runner.save_checkpoint(runner.work_dir, 'absorbed.pth', save_optimizer=False, meta=meta)
            runner.logger.info(f'MagnitudeAwareHook: absorbed.pth has +-1 weights in {changed} convolutions')

    @torch.no_grad()
    def _measure(self, model: nn.Module) -> Iterable[tuple[str, float]]:
        for name, conv in binary_convolutions(model):
            weight = conv.weight.detach()
            magnitude = weight.abs().mean().item()
            yield f'weights/{name}/magnitude', magnitude
            yield f'weights/{name}/alpha', 1 / max(magnitude, 1e-30)
            if name in self.gradients:
                yield f'weights/{name}/gradient', self.gradients[name]
            signs = sign(weight) > 0
            if name in self.signs:
                yield f'weights/{name}/flips', (signs != self.signs[name]).float().mean().item()
            self.signs[name] = signs
