"""PreciseBNHook: statistics of the current weights over many batches, and a training that does not notice."""

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from bireal_plugin.errors import InputError
from bireal_plugin.hosts.torch_private import BatchNorm
from bireal_plugin.training.hooks.precise_norm import PreciseBNHook, summed_statistics
from tests.training.hooks.test_plan import Halt, Third, assert_same, runner, weights

PRECISE = dict(type='PreciseBNHook', num_samples=12)


class Watched(Third):
    """Keeps the images of the forward passes that train nothing but are in training mode."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, inputs, labels, mode='tensor'):
        if self.training and not torch.is_grad_enabled():
            self.batches.append(inputs.clone())
        return super().forward(inputs, labels, mode)


class Saved(Hook):
    """Keeps the statistics at the end of an epoch."""

    priority = 'LOWEST'

    def after_train_epoch(self, runner):
        self.state = {name: value.clone() for name, value in runner.model.state_dict().items()}


def normalised(x, norm):
    """BatchNorm of a batch by its own statistics."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / (variance + norm.eps).sqrt() * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)


def test_statistics_are_those_of_all_batches_under_the_current_weights(tmp_path):
    torch.manual_seed(0)
    model, saved = Watched(), Saved()
    runner(tmp_path, [PRECISE, saved], model=model, epochs=1).train()
    assert [len(batch) for batch in model.batches] == [4, 4, 4]
    assert len({image.numpy().tobytes() for batch in model.batches for image in batch}) == 12
    model.double().train()
    first, second = [], []
    with torch.no_grad():
        for batch in model.batches:
            first.append(model.conv1(model.stem(batch.double())))
            second.append(model.conv2(normalised(first[-1], model.bn1)))
    for name, got in (('bn1', first), ('bn2', second)):
        values = torch.cat(got).transpose(0, 1).flatten(1)
        torch.testing.assert_close(saved.state[f'{name}.running_mean'].double(), values.mean(1), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(saved.state[f'{name}.running_var'].double(), values.var(1), rtol=1e-6, atol=1e-6)
        assert saved.state[f'{name}.num_batches_tracked'] == 4


@pytest.mark.parametrize('by_epoch', [True, False], ids=['epochs', 'iterations'])
def test_the_weights_are_those_of_a_training_without_it(tmp_path, by_epoch):
    """Dropout draws from torch's generator in every step, and an iteration loop's sampler is one endless stream."""
    ends = []
    hooks = ([], [PRECISE, dict(type='PreciseBNHook', num_samples=8, interval=1 if by_epoch else 3)])
    for name, each in zip('ab', hooks, strict=True):
        runner(tmp_path / name, each, epochs=2, by_epoch=by_epoch, interval=1 if by_epoch else 8).train()
        ends.append(weights(tmp_path / name, 'epoch_2.pth' if by_epoch else 'iter_8.pth'))
    different = {name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])}
    assert different == {f'bn{k}.running_{what}' for k in (1, 2) for what in ('mean', 'var')}


def test_a_resumed_run_ends_as_the_uninterrupted_one(tmp_path):
    runner(tmp_path / 'whole', [PRECISE], epochs=3).train()
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path / 'parts', [PRECISE, Halt(epoch=2)], epochs=3).train()
    runner(tmp_path / 'parts', [PRECISE], epochs=3, resume=True).train()
    assert_same(weights(tmp_path / 'whole', 'epoch_3.pth'), weights(tmp_path / 'parts', 'epoch_3.pth'))


@pytest.mark.parametrize(
    ('options', 'epochs', 'measured'),
    [
        (dict(), 5, [0, 1, 2, 3, 4]),  # a runner without validation has an interval of 1
        (dict(interval=2), 5, [1, 3, 4]),
        (dict(interval=3), 2, [1]),
    ],
)
def test_it_runs_at_its_interval_and_at_the_end(tmp_path, monkeypatch, options, epochs, measured):
    times = []
    monkeypatch.setattr(PreciseBNHook, '_measure', lambda self, runner, time: times.append(time))
    runner(tmp_path, [{**PRECISE, **options}], epochs=epochs).train()
    assert times == measured


def test_frozen_norms_and_those_that_get_nothing_keep_their_statistics():
    model = Third(norm_eval=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad(), summed_statistics(model):
        model(torch.randn(4, 1, 6, 6), None)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {'bn2.running_mean', 'bn2.running_var'}
    with summed_statistics(model):
        pass
    assert not isinstance(model.bn1, BatchNorm) or torch.equal(model.bn1.running_mean, before['bn1.running_mean'])


def test_one_channel_of_a_large_mean_is_summed_exactly_enough():
    """The variance of values about 1000 is 1e-6 of their squares: sums in float32 would lose it."""
    norm = torch.nn.BatchNorm2d(1).train()
    values = 1000 + np.random.default_rng(0).standard_normal((3, 2, 1, 5, 5)).astype(np.float32)
    with torch.no_grad(), summed_statistics(norm):
        for batch in values:
            norm(torch.from_numpy(batch))
    assert norm.running_var.item() == pytest.approx(values.astype(np.float64).var(ddof=1), rel=1e-4)


@pytest.mark.parametrize('options', [dict(num_samples=0), dict(interval=0), dict(num_samples=1.5)], ids=str)
def test_numbers_below_one_are_refused(options):
    with pytest.raises(InputError, match='is a whole number from 1 on'):
        PreciseBNHook(**options)
