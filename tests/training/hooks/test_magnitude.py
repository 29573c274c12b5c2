"""MagnitudeAwareHook logs what it says, whatever the loss is scaled by."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from bireal_plugin import BinaryConv2d
from bireal_plugin.training import MagnitudeAwareHook


@pytest.mark.parametrize('scale', [None, 1.0, 65536.0])
def test_gradients_are_those_of_the_unscaled_loss(scale):
    torch.manual_seed(0)
    model, x = nn.Sequential(BinaryConv2d(3, 4, 3)), torch.randn(2, 3, 8, 8)
    (expected,) = torch.autograd.grad(model(x).square().mean(), [model[0].weight])
    wrapper = (
        SimpleNamespace() if scale is None else SimpleNamespace(loss_scaler=SimpleNamespace(get_scale=lambda: scale))
    )
    hub = MessageHub.get_instance(f'magnitude {scale}')
    visualizer = SimpleNamespace(add_scalars=lambda *_, **__: None)
    runner = SimpleNamespace(model=model, iter=0, optim_wrapper=wrapper, message_hub=hub, visualizer=visualizer)
    hook = MagnitudeAwareHook(interval=1)
    hook.before_train_iter(runner, 0)
    ((scale or 1.0) * model(x).square().mean()).backward()
    hook.after_train_iter(runner, 0)
    logged = hub.get_scalar('weights/0/gradient').current()
    assert logged == pytest.approx(expected.abs().mean().item(), rel=1e-5)
