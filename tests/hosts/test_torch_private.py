"""What is asked of torch's private interface. A failure here means: mend bireal_plugin/hosts/torch_private.py."""

import importlib
import multiprocessing
import time

import pytest
import torch
from torch import nn

MEND = 'this torch lacks it or does something else; mend bireal_plugin/hosts/torch_private.py'


@pytest.fixture(scope='module')
def private():
    try:
        return importlib.import_module('bireal_plugin.hosts.torch_private')
    except ImportError as error:
        pytest.fail(f'{error}: {MEND}')


@pytest.mark.parametrize(
    ('name', 'members', 'others'),
    [
        ('BatchNorm', [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.SyncBatchNorm(2)], [nn.InstanceNorm2d(2)]),
        ('NormWithStatistics', [nn.BatchNorm2d(2), nn.InstanceNorm2d(2)], [nn.GroupNorm(1, 2), nn.LayerNorm(2)]),
        ('Convolution', [nn.Conv1d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1)], [nn.Linear(2, 2)]),
        ('Dropout', [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()], [nn.Identity()]),
        ('TransposedConvolution', [nn.ConvTranspose2d(2, 2, 1)], [nn.Conv2d(2, 2, 1)]),
    ],
)
def test_base_classes_hold_what_their_names_say(private, name, members, others):
    base = getattr(private, name)
    assert [isinstance(module, base) for module in (*members, *others)] == [True] * len(members) + [False] * len(
        others
    ), MEND


def test_fake_tensors_have_shapes_and_no_memory(private):
    with private.FakeTensorMode(allow_non_fake_inputs=True):
        y = nn.Conv2d(3, 8, 3)(torch.empty(1, 3, 10_000, 10_000))
    assert y.shape == (1, 8, 9_998, 9_998), MEND
    assert y.device.type == 'cpu', MEND


def test_a_dispatch_mode_sees_every_operation(private):
    class Names(private.TorchDispatchMode):
        seen = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen.append(func.name())
            return func(*args, **(kwargs or {}))

    with Names():
        torch.ones(2) + 1
    assert Names.seen[-1] == 'aten::add.Tensor', MEND


def test_leaves_of_nested_arguments(private):
    assert private.tree_leaves(([1, (2,)], {'a': 3})) == [1, 2, 3], MEND


class Doubled(nn.Conv2d):
    def _conv_forward(self, *args):
        return 2 * super()._conv_forward(*args)


class Named(nn.Conv2d):
    pass


def test_a_convolution_is_plain_where_its_function_is_conv2d(private):
    convs = nn.Conv2d(1, 1, 1), Named(1, 1, 1), Doubled(1, 1, 1), nn.Linear(1, 1)
    assert list(map(private.convolves_plainly, convs)) == [True, True, False, False], MEND
    doubled, plain, x = convs[2], convs[0], torch.ones(1, 1, 1, 1)
    doubled.load_state_dict(plain.state_dict())
    assert torch.equal(doubled(x), 2 * plain(x)), MEND


def test_moved_hooks_run_and_their_handles_remove_them(private):
    source, target, calls = nn.Linear(2, 2), nn.Linear(2, 2), []
    handles = [
        source.register_forward_pre_hook(lambda module, args, kwargs: calls.append('before'), with_kwargs=True),
        source.register_forward_hook(lambda module, args, output: calls.append('after'), always_call=True),
        source.register_full_backward_pre_hook(lambda module, gradient: calls.append('backward before')),
        source.register_full_backward_hook(lambda module, inputs, outputs: calls.append('backward')),
    ]
    private.move_hooks(source, target)
    target(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert calls == ['before', 'after', 'backward before', 'backward'], MEND
    for handle in handles:
        handle.remove()
    target(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert len(calls) == 4, MEND


class Counted(nn.Linear):
    casts = 0

    def _apply(self, *args, **options):
        self.casts += 1
        return super()._apply(*args, **options)


def test_moves_and_casts_go_through_apply():
    """DistilledClassifier takes its teacher along there."""
    parent = nn.Sequential(Counted(2, 2))
    for move in (lambda: parent.to('cpu'), parent.double, parent.half):
        before = parent[0].casts
        move()
        assert parent[0].casts == before + 1, 'this torch moves modules otherwise; mend models/distill.py'


@pytest.mark.parametrize(
    ('place', 'when', 'between'), [(0, 'hook', True), (1, 'pre_hook', True), (0, 'pre_hook', False)]
)
def test_hooks_between_two_modules_are_seen(private, place, when, between):
    row = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    handle = getattr(row[place], f'register_forward_{when}')(lambda *_: None)
    assert private.hook_between(*row) == between, MEND
    handle.remove()
    assert not private.hook_between(*row), MEND


def test_removed_forward_hooks_run_no_more(private):
    model, calls = nn.Sequential(nn.Linear(2, 2)), []
    model[0].register_forward_hook(lambda *_: calls.append('after'))
    model.register_forward_pre_hook(lambda *_: calls.append('before'))
    private.remove_forward_hooks(model)
    model(torch.ones(1, 2))
    assert calls == [], MEND


def test_tables_are_of_what_a_module_holds_itself(private):
    module = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())
    assert [list(table.values()) for table in private.tables(module)] == [[], [], list(module)], MEND
    parameters, buffers, children = private.tables(module[0])
    assert [id(each) for each in parameters.values()] == [id(module[0].weight), id(module[0].bias)], MEND
    assert (list(buffers), children) == (['running_mean', 'running_var', 'num_batches_tracked'], {}), MEND


def test_persistent_workers_of_a_loader_end_at_once(private):
    loader = torch.utils.data.DataLoader(range(8), num_workers=2, persistent_workers=True)
    assert sum(len(batch) for batch in loader) == 8
    workers, start = multiprocessing.active_children(), time.monotonic()
    assert len(workers) == 2, MEND
    private.end_workers(loader)
    private.end_workers([1, 2])  # a loader of another class has no processes of torch's
    assert time.monotonic() - start < 4, MEND  # torch waits 5 s for one that does not hear
    assert multiprocessing.active_children() == [], MEND
    assert sum(len(batch) for batch in loader) == 8  # as before
    private.end_workers(loader)
