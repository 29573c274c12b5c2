"""The one-Runner hooks, in bare mmengine Runners over a model that knows nothing of this project but one layer."""

import itertools
import json
import shutil

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from bireal_plugin.binary import BinaryConv2d, Clip, Sign
from bireal_plugin.errors import InputError
from bireal_plugin.training.hooks.magnitude import MagnitudeAwareHook
from bireal_plugin.training.hooks.plan import phase_at, plan_of
from bireal_plugin.training.hooks.two_step import TwoStepBinarizationHook


class Third(BaseModel):
    """A third-party model: real stem, one 1x1 and one 3x3 binary convolution with BatchNorm, a linear layer."""

    def __init__(self, norm_eval=False):
        super().__init__()
        self.norm_eval = norm_eval
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.conv1, self.bn1 = BinaryConv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = BinaryConv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, 2)

    def train(self, mode=True):
        super().train(mode)
        if self.norm_eval:
            self.bn1.eval()
        return self

    def forward(self, inputs, labels, mode='tensor'):
        x = self.bn1(self.conv1(self.stem(inputs)))
        x = self.bn2(self.conv2(x)) + x
        logits = self.head(self.dropout(x.mean((2, 3))))
        return dict(loss=F.cross_entropy(logits, labels)) if mode == 'loss' else logits


class Stripes(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(1, 6, 6, generator=generator)
        image[:, :: 2 if index % 2 else 6] += 2
        return dict(inputs=image, labels=index % 2)


class Halt(Hook):
    """Stops a run where a machine might be switched off: in the second iteration of an epoch, or at an iteration."""

    def __init__(self, *, epoch=None, iteration=None):
        self.epoch, self.iteration = epoch, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if (runner.epoch == self.epoch and batch_idx == 1) or runner.iter == self.iteration:
            raise KeyboardInterrupt


class Watch(Hook):
    """Notes, before each iteration, what the two convolutions are and what their learning rate is."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append((*state(runner.model), runner.optim_wrapper.param_groups[0]['lr']))


def state(model):
    return tuple((conv.binary_input, conv.binary_weight) for conv in (model.conv1, model.conv2))


COUNTER = itertools.count()
PHASES = dict(step1=2, step2=4, bn=6, activations=dict(relu=0, clip=1))
EPOCHS = 7
PER_EPOCH = 4


def runner(
    folder, hooks, *, model=None, epochs=EPOCHS, by_epoch=True, resume=False, constructor=True, decay=0.0, interval=None
):
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=decay))
    if constructor:
        optim_wrapper['constructor'] = 'BinaryOptimWrapperConstructor'
    loop = dict(max_epochs=epochs) if by_epoch else dict(max_iters=epochs * PER_EPOCH)
    torch.manual_seed(0)
    return Runner(
        model=model or Third(),
        work_dir=str(folder),
        experiment_name=f'plan_{next(COUNTER)}',
        train_dataloader=dict(
            batch_size=4,
            dataset=Stripes(),
            sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=by_epoch, **loop),
        optim_wrapper=optim_wrapper,
        param_scheduler=dict(type='CosineAnnealingLR', T_max=EPOCHS, by_epoch=True) if by_epoch else None,
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=interval or 1, by_epoch=by_epoch)),
        custom_hooks=[dict(type='EpochSeedHook'), dict(type='PlainCheckpointHook'), *hooks],
        randomness=dict(seed=3),
        resume=resume,
        log_level='WARNING',
        default_scope='mmengine',
    )


def weights(folder, name):
    return torch.load(folder / name, weights_only=True)['state_dict']


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def two_step(**options):
    return dict(type='TwoStepBinarizationHook', **{**PHASES, **options})


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    runner(folder, [two_step()]).train()
    return folder


@pytest.mark.parametrize('stop', range(1, EPOCHS))
def test_a_run_stopped_in_any_epoch_and_resumed_equals_the_uninterrupted_one(uninterrupted, tmp_path, stop):
    """Stops lie one epoch before, on and after every boundary (clip 1, step1 2, step2 4, bn 6)."""
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, [two_step(), Halt(epoch=stop)]).train()
    runner(tmp_path, [two_step()], resume=True).train()
    assert_same(weights(uninterrupted, f'epoch_{EPOCHS}.pth'), weights(tmp_path, f'epoch_{EPOCHS}.pth'))


BY_ITERATION = dict(step1=8, step2=16, bn=24, activations=dict(clip=0), by_epoch=False)


def by_iteration(folder, hooks, **options):
    torch.manual_seed(0)
    model = Third()
    model.dropout = nn.Identity()  # draws from torch's generator, which an iteration loop does not reseed
    return runner(folder, [two_step(**BY_ITERATION), *hooks], model=model, by_epoch=False, interval=1, **options)


@pytest.fixture(scope='module')
def uninterrupted_by_iteration(tmp_path_factory):
    folder = tmp_path_factory.mktemp('iterations')
    by_iteration(folder, []).train()
    return folder


@pytest.mark.parametrize('stop', [7, 8, 9, 15, 16, 17, 23, 24, 25])
def test_the_same_by_iteration(uninterrupted_by_iteration, tmp_path, stop):
    with pytest.raises(KeyboardInterrupt):
        by_iteration(tmp_path, [Halt(iteration=stop)]).train()
    by_iteration(tmp_path, [], resume=True).train()
    assert_same(weights(uninterrupted_by_iteration, 'iter_28.pth'), weights(tmp_path, 'iter_28.pth'))


def test_every_phase_has_its_state_and_learning_rates(tmp_path):
    watch = Watch()
    run = runner(tmp_path, [two_step(), watch])
    run.train()
    real, step1, step2 = ((False, False),) * 2, ((True, True), (True, False)), ((True, True),) * 2
    expected = [real, real, step1, step1, step2, step2, step2]
    per_epoch = watch.seen[::PER_EPOCH]
    assert [seen[:2] for seen in per_epoch] == expected
    assert all(seen[:2] == per_epoch[i // PER_EPOCH][:2] for i, seen in enumerate(watch.seen))
    assert [seen[2] > 0 for seen in per_epoch] == [True] * 6 + [False]


@pytest.mark.parametrize('hold', ['all', 'convolutions'])
def test_the_bn_phase_holds_convolutions_at_one_and_the_rest_but_norms_too(uninterrupted, tmp_path, hold):
    before = weights(uninterrupted, 'epoch_6.pth')
    shutil.copytree(uninterrupted, tmp_path / 'run')
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'epoch_6.pth'))
    runner(tmp_path / 'run', [two_step(hold=hold)], resume=True).train()
    after = weights(tmp_path / 'run', 'epoch_7.pth')
    for name in ('conv1.weight', 'conv2.weight'):
        assert torch.equal(after[name], torch.where(before[name] < 0, -1.0, 1.0))
    assert torch.equal(after['stem.weight'], before['stem.weight'])
    assert not torch.equal(after['bn1.bias'], before['bn1.bias'])
    assert torch.equal(after['head.weight'], before['head.weight']) == (hold == 'all')


def test_nothing_is_lost_at_the_switch_to_bn(uninterrupted, tmp_path):
    model = Third().eval()
    model.load_state_dict(weights(uninterrupted, 'epoch_6.pth'))
    x, labels = torch.randn(4, 1, 6, 6), torch.zeros(4, dtype=torch.long)
    before = model(x, labels)
    hook = TwoStepBinarizationHook(bn=1)
    run = runner(tmp_path, [], model=model)
    hook.enter(run, 'bn')
    torch.testing.assert_close(model(x, labels), before, rtol=1e-4, atol=1e-5)
    assert isinstance(model.conv1.weight_binarizer, Sign)


def test_real_phase_uses_the_named_activation(tmp_path):
    run = runner(tmp_path, [])
    TwoStepBinarizationHook(step1=3).enter(run, 'clip')
    assert isinstance(run.model.conv1.activation, Clip)


def test_every_switch_is_logged(tmp_path, caplog):
    run = runner(tmp_path, [two_step()])
    lines = []
    run.logger.info = lines.append
    run.train()
    switches = [line for line in lines if str(line).startswith('TwoStep')]
    assert [line.split(': ')[1] for line in switches] == [
        'relu from epoch 1',
        'clip from epoch 2',
        'step1 from epoch 3',
        'step2 from epoch 5',
        'bn from epoch 7',
    ]


@pytest.mark.parametrize(
    ('options', 'hook', 'sentence'),
    [
        (dict(model=Third(norm_eval=True)), two_step(), r'1 of 2 binary convolutions \(conv1, ...\) it is frozen'),
        (dict(constructor=False), two_step(), 'share a parameter group with BatchNorm'),
        (dict(), two_step(hold='head'), "is 'all' or 'convolutions', not 'head'"),
        (dict(constructor=False, decay=1e-4), two_step(bn=None), 'latent weights would decay by 0.0001'),
    ],
)
def test_what_would_make_a_phase_wrong_is_refused_before_training(tmp_path, options, hook, sentence):
    watch = Watch()
    with pytest.raises(InputError, match=sentence):
        runner(tmp_path, [hook, watch], **options).train()
    assert watch.seen == []


def test_frozen_batch_norm_is_refused(tmp_path):
    model = Third()
    model.bn2.requires_grad_(False)
    with pytest.raises(InputError, match='conv2'):
        runner(tmp_path, [two_step()], model=model).train()


def test_a_model_without_binary_convolutions_is_refused(tmp_path):
    model = Third()
    model.conv1, model.conv2 = model.conv1.to_float(), model.conv2.to_float()
    with pytest.raises(InputError, match='has no BinaryConv2d'):
        runner(tmp_path, [two_step()], model=model).train()


@pytest.mark.parametrize(
    ('begins', 'time', 'phase'),
    [
        (dict(a=0, b=5), 0, 'a'),
        (dict(a=0, b=5), 4, 'a'),
        (dict(a=0, b=5), 5, 'b'),
        (dict(a=3, b=None), 2, None),
        (dict(a=3, b=None), 99, 'a'),
    ],
)
def test_phase_is_a_function_of_time(begins, time, phase):
    assert phase_at(plan_of(begins, owner='x'), time) == phase


@pytest.mark.parametrize(
    'options',
    [
        dict(step1=5, step2=3),
        dict(step1=0, step2=0),
        dict(step1=-1),
        dict(step1=0, bn=2.5),
        dict(activations=dict(relu=4)),
    ],
)
def test_phases_out_of_order_are_refused(options):
    with pytest.raises(InputError, match='increasing whole numbers'):
        TwoStepBinarizationHook(**options)


def test_activations_are_ordered_by_time_and_not_by_the_keys_of_a_dumped_config():
    plan = TwoStepBinarizationHook(step1=5, activations=dict(clip=3, leaky_clip=2, relu=0)).plan
    assert plan == [(0, 'relu'), (2, 'leaky_clip'), (3, 'clip'), (5, 'step1')]


def test_unknown_activation_is_refused():
    with pytest.raises(InputError, match='gelu'):
        TwoStepBinarizationHook(step1=4, activations=dict(gelu=0))


def scalars(folder):
    (path,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_magnitudes_ratios_gradients_and_flips_reach_the_visualizer(tmp_path):
    """Recomputed from the checkpoints around the logged iterations; the gradient from a hook of the test."""
    gradients = []

    class Gradient(Hook):
        priority = 'LOWEST'

        def before_train(self, runner):
            runner.model.conv1.weight.register_hook(lambda grad: gradients.append(grad.abs().mean().item()))

    logger = dict(type='MagnitudeAwareHook', interval=1)
    run = runner(tmp_path, [logger, Gradient()], by_epoch=False, interval=1, epochs=1)
    run.train()
    logged = [entry for entry in scalars(tmp_path) if 'weights/conv1/alpha' in entry]
    assert [entry['step'] for entry in logged] == [1, 2, 3, 4]
    previous = None
    for i, entry in enumerate(logged):
        w = weights(tmp_path, f'iter_{i + 1}.pth')['conv1.weight'].double()
        assert entry['weights/conv1/magnitude'] == pytest.approx(w.abs().mean().item(), rel=1e-5)
        assert entry['weights/conv1/alpha'] == pytest.approx(
            torch.ones_like(w).sum().item() / w.abs().sum().item(), rel=1e-5
        )
        assert entry['weights/conv1/gradient'] == pytest.approx(gradients[i], rel=1e-5)
        if previous is not None:
            flips = ((w < 0) != (previous < 0)).double().mean().item()
            assert entry['weights/conv1/flips'] == pytest.approx(flips, abs=1e-6)
        previous = w
    assert run.message_hub.get_scalar('weights/conv2/alpha').current() == logged[-1]['weights/conv2/alpha']


def test_weight_rules_are_switched_by_plan(tmp_path):
    kinds = []

    class Kinds(Hook):
        priority = 'LOWEST'

        def before_train_epoch(self, runner):
            kinds.append(type(runner.model.conv1.weight_binarizer).__name__)

    runner(tmp_path, [dict(type='MagnitudeAwareHook', plan=dict(Sign=0, MagnitudeAware=2)), Kinds()], epochs=3).train()
    assert kinds == ['Sign', 'Sign', 'MagnitudeAware']


def test_absorbing_at_the_end_saves_the_same_network_with_weights_of_one(tmp_path):
    run = runner(tmp_path, [dict(type='MagnitudeAwareHook', absorb=True)], epochs=2)
    run.train()
    x, labels = torch.randn(4, 1, 6, 6), torch.zeros(4, dtype=torch.long)
    outputs = []
    for name in ('epoch_2.pth', 'absorbed.pth'):
        model = Third().eval()
        model.load_state_dict(weights(tmp_path, name))
        outputs.append(model(x, labels))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    assert set(weights(tmp_path, 'absorbed.pth')['conv2.weight'].unique().tolist()) <= {-1.0, 1.0}


def test_unknown_weight_rule_is_refused():
    with pytest.raises(InputError, match="unknown weight binarizer 'Ternary'"):
        MagnitudeAwareHook(plan=dict(Ternary=0))
