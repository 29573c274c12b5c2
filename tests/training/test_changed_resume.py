"""Resuming with another config: its schedule holds from the resumed epoch on; another network or other data do not."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config

from bireal_plugin.training.config import load_config
from bireal_plugin.training.differences import mixed

STAGES = ['float', 'leaky_clip', 'clip', 'binary', 'bn']


@pytest.fixture(scope='module')
def plain_config(tiny_config, tmp_path_factory):
    """A real network without stages on 64 digits, two iterations an epoch."""
    config = Config.fromfile(tiny_config)
    config.pop('stages')
    config.model.backbone.update(activation='clip', weights='real')
    config.train_dataloader.batch_size = 32
    config.train_dataloader.dataset.subset = config.val_dataloader.dataset.subset = 64
    config.train_cfg.max_epochs = 4
    config.optim_wrapper.optimizer.lr = 0.02
    config.default_hooks.logger.interval = 1
    path = tmp_path_factory.mktemp('plain') / 'plain.py'
    config.dump(path)
    return path


@pytest.fixture
def train(run_tool, plain_config, tmp_path):
    """``train('run', 'train_cfg.max_epochs=2')`` in a folder of ``tmp_path``; ``text`` extends the config."""

    def run(folder, *options, text='', resume=False, allow=False):
        flags = [*(['--resume'] if resume else []), *(['--allow-changed'] if allow else [])]
        options = ['--cfg-options', *options] if options else []
        config = tmp_path / 'plain.py'
        config.write_text(f'_base_ = {str(plain_config)!r}\n{text}\n')
        return run_tool('train.py', config, '--work-dir', tmp_path / folder, *flags, *options)

    return run


@pytest.fixture(scope='module')
def one_epoch(run_tool, plain_config):
    folder = plain_config.parent / 'one_epoch'
    ended = run_tool('train.py', plain_config, '--work-dir', folder, '--cfg-options', 'train_cfg.max_epochs=1')
    assert ended.status == 0, ended.err
    return folder


@pytest.fixture
def begun(one_epoch, tmp_path):
    """A run in the folder ``run`` of ``tmp_path`` that has ended after one epoch."""
    shutil.copytree(one_epoch, tmp_path / 'run')


def rates(folder):
    """Learning rate of each iteration that the logs of all calls tell, the latest for each."""
    found = {}
    for log in sorted(folder.rglob('scalars.json')):
        for line in map(json.loads, log.read_text().splitlines()):
            if 'lr' in line:
                found[line['iter']] = line['lr']
    return found


SCHEDULES = dict(
    rate='optim_wrapper = dict(optimizer=dict(lr=0.005))',
    milestones='param_scheduler = dict(milestones=[1, 2, 3], gamma=0.3)',
    type="param_scheduler = dict(_delete_=True, type='ExponentialLR', gamma=0.7)",
    warm_up="""optim_wrapper = dict(optimizer=dict(lr=0.04))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
                   dict(type='CosineAnnealingLR', T_max=4), dict(type='ExponentialLR', by_epoch=False, gamma=0.9)]""",
)


@pytest.mark.parametrize('text', SCHEDULES.values(), ids=SCHEDULES)
def test_a_new_schedule_holds_from_the_resumed_epoch_on_as_if_it_had_always_been(train, tmp_path, text):
    train('new', text=text)
    train('changed', 'train_cfg.max_epochs=2')
    before = rates(tmp_path / 'changed')
    ended = train('changed', text=text, resume=True)
    assert ended.status == 0, ended.err
    new, changed = rates(tmp_path / 'new'), rates(tmp_path / 'changed')
    assert len(new) == len(changed) == 8
    assert {step: changed[step] for step in changed if step > 4} == {step: new[step] for step in new if step > 4}
    assert {step: changed[step] for step in before} == before
    assert before[4] != new[4]


def test_a_raised_length_reaches_schedules_that_end_with_the_run(train, tmp_path):
    """The scheduler of a run of two epochs ends after them."""
    option = 'param_scheduler.milestones=[3]'
    train('changed', option, 'train_cfg.max_epochs=2')
    train('changed', option, resume=True)
    assert rates(tmp_path / 'changed')[7] == pytest.approx(0.002)


def test_momentum_is_kept_when_the_rate_changes(train, begun, tmp_path):
    old = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=True)
    options = ('optim_wrapper.optimizer.lr=0.0', 'optim_wrapper.optimizer.momentum=1.0', 'train_cfg.max_epochs=2')
    train('run', *options, resume=True)
    new = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=True)
    assert torch.equal(new['state_dict']['fc.weight'], old['state_dict']['fc.weight'])
    last = [content['optimizer']['state'][0]['momentum_buffer'] for content in (old, new)]
    # buffer = 1.0 * buffer + gradient in two iterations: without the old one it would be the gradients alone.
    train('fresh', *options[:2], f'load_from={tmp_path}/run/epoch_1.pth', 'train_cfg.max_epochs=2')
    fresh = torch.load(tmp_path / 'fresh' / 'epoch_1.pth', weights_only=True)['optimizer']['state'][0]
    assert (last[1] - last[0]).abs().max() < 3 * fresh['momentum_buffer'].abs().max()
    assert not torch.allclose(last[1], fresh['momentum_buffer'], rtol=0.1)


def test_a_schedule_that_writes_into_the_optimizer_keeps_its_momentum(train, begun, tmp_path):
    one_cycle = "param_scheduler = dict(_delete_=True, type='OneCycleLR', eta_max=0.05, total_steps=8, by_epoch=False)"
    ended = train('run', 'train_cfg.max_epochs=2', text=one_cycle, resume=True)
    assert ended.status == 0, ended.err
    assert 'it starts without the state' not in next(iter(sorted((tmp_path / 'run').glob('*/*.log'))[::-1])).read_text()
    ended = train('run', 'train_cfg.max_epochs=3', text=one_cycle, resume=True)  # whose state has words in it
    assert ended.status == 0, ended.err


def test_another_kind_of_optimizer_starts_without_the_state_of_the_first(train, begun, tmp_path):
    adam = "optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=0.001))"
    ended = train('run', 'train_cfg.max_epochs=2', text=adam, resume=True)
    assert ended.status == 0, ended.err
    assert 'it starts without the state' in next(iter(sorted((tmp_path / 'run').glob('*/*.log'))[::-1])).read_text()
    state = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=True)['optimizer']['state'][0]
    assert state['step'] == 2


def test_the_advice_after_divergence_works(train, begun, tmp_path):
    diverged = train('run', 'optim_wrapper.optimizer.lr=1e30', resume=True)
    assert diverged.status == 1
    assert 'lower the learning rate and use --resume' in diverged.err
    assert not (tmp_path / 'run' / 'epoch_2.pth').exists()
    ended = train('run', 'optim_wrapper.optimizer.lr=0.003', resume=True)
    assert ended.status == 0, ended.err
    assert rates(tmp_path / 'run')[8] == 0.003
    weights = torch.load(tmp_path / 'run' / 'epoch_4.pth', weights_only=True)['state_dict']
    assert all(torch.isfinite(value).all() for value in weights.values())


OTHERS = [
    ('model.backbone.structure=resnet', "model.backbone.structure = 'resnet' (was 'bireal')"),
    ('model.backbone.sign=STE', 'model.backbone.conv.sign = STE (was ApproxSign)'),
    ('model.backbone.norm_cfg.type=SyncBN', 'model.backbone.norm_cfg = SyncBN (was '),
    ('model.data_preprocessor.mean=[80.0]', 'model.data_preprocessor.mean = [80.0] (was [78.0])'),
    ('model.num_classes=11', 'model.num_classes = 11 (was 10)'),
    ('train_dataloader.batch_size=16', 'total_batch_size = 16 (was 32)'),
    ('train_dataloader.dataset.subset=60', 'train_dataloader.dataset.subset = 60 (was 64)'),
    ('train_dataloader.dataset.size=17', 'train_dataloader.dataset.size = 17 (was 16)'),
    ('train_dataloader.dataset.split=test', "train_dataloader.dataset.split = 'test' (was 'train')"),
    ('train_dataloader.dataset.transform.pad=2', 'train_dataloader.dataset.transform.pad = 2 (was 1)'),
    ('train_dataloader.sampler.shuffle=False', 'train_dataloader.sampler.shuffle = False (was True)'),
    ('randomness.seed=7', 'randomness.seed = 7 (was 0)'),
]


@pytest.mark.parametrize(('options', 'words'), OTHERS, ids=[words.partition(' ')[0] for _, words in OTHERS])
def test_another_network_or_other_data_are_named_and_refused(train, begun, tmp_path, options, words):
    before = {path: path.read_bytes() for path in (tmp_path / 'run').glob('*.pth')}
    ended = train('run', options, resume=True)
    assert (ended.status, ended.err.count('\n')) == (1, 1), ended.err
    assert words in ended.err
    assert f'{tmp_path}/run/epoch_1.pth was trained otherwise' in ended.err
    assert '--allow-changed' in ended.err
    assert {path: path.read_bytes() for path in (tmp_path / 'run').glob('*.pth')} == before


def test_they_are_taken_when_that_is_asked_for(train, begun, tmp_path):
    changes = ('model.backbone.structure=resnet', 'train_dataloader.dataset.subset=32', 'randomness.seed=7')
    ended = train('run', *changes, resume=True, allow=True)
    assert ended.status == 0, ended.err
    meta = torch.load(tmp_path / 'run' / 'epoch_4.pth', weights_only=True)['meta']
    assert (meta['iter'], meta['seed']) == (2 + 3, 7)
    assert meta['trained']['config']['model']['backbone']['structure'] == 'resnet'
    assert meta['data'] == dict(total_batch_size=32, images=32, classes=[str(digit) for digit in range(10)])


def test_what_only_training_sees_may_change(train, begun, tmp_path):
    changes = ('model.drop_rate=0.3', 'train_dataloader.num_workers=1', 'val_dataloader.batch_size=7')
    ended = train('run', *changes, resume=True)
    assert ended.status == 0, ended.err
    for told in ('model.drop_rate = 0.3 (was 0.1)', 'train_dataloader.num_workers = 1 (was 0)'):
        assert f'resumed with {told}' in ended.out


@pytest.mark.parametrize(('images', 'classes', 'words'), [(63, None, 'images = 64 (was 63)'), (None, ['a'], 'classes')])
def test_other_files_at_the_same_place_are_told_by_their_number_and_classes(
    train, begun, tmp_path, images, classes, words
):
    content = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=True)
    content['meta']['data'].update({'images': images} if images else {'classes': classes})
    torch.save(content, tmp_path / 'run' / 'epoch_1.pth')
    ended = train('run', resume=True)
    assert ended.status == 1
    assert words in ended.err


def test_data_that_moved_are_the_same_data():
    before, now = (
        load_config('configs/bireal_r18_imagenet.py', dict(data_root=root)).to_dict() for root in ('/ssd/a', '/raid/b')
    )
    assert mixed(before, now) == []
    assert len(mixed(before, {**now, 'data_preprocessor': dict(mean=[1.0])})) == 1


def test_a_run_by_iterations_does_not_continue_one_by_epochs():
    config = load_config('configs/bireal_r18_imagenet.py').to_dict()
    (found,) = mixed(config, {**config, 'train_cfg': dict(by_epoch=False, max_iters=9)})
    assert str(found) == 'train_cfg.by_epoch = False (was True)'


@pytest.fixture
def folder(finished_run, tmp_path):
    """A copy of the finished run whose last stage lacks its last epoch."""
    copied = tmp_path / 'run'
    shutil.copytree(finished_run.folder, copied)
    (copied / 'bn' / 'result.json').unlink()
    (copied / 'bn' / 'epoch_2.pth').unlink()
    return copied


RECIPES = {
    'removed': (['float', 'clip', 'binary', 'bn'], 'clip was trained as the last of the stages float, leaky_clip, cl'),
    'reordered': (['float', 'clip', 'leaky_clip', 'binary', 'bn'], 'and {config} has float, clip'),
    'inserted': (['float', 'leaky_clip', 'clip', 'more', 'binary', 'bn'], 'has float, leaky_clip, clip, more, binary'),
    'renamed': (['float', 'leaky_clip', 'clip', 'sign', 'bn'], 'and {config} has float, leaky_clip, clip, sign, bn'),
    'ended': (['float', 'leaky_clip', 'clip', 'binary'], 'bn, and {config} has no such stage'),
}


@pytest.mark.parametrize('kind', RECIPES)
def test_a_recipe_of_other_stages_is_refused(run_tool, tiny_config_with, folder, kind):
    names, words = RECIPES[kind]
    known = {name: f"_base_.stages['{name}']" for name in STAGES}
    stages = ', '.join(f'{name}={known.get(name, known["clip"])}' for name in names)
    config = tiny_config_with(f'stages = dict(_delete_=True, {stages})')
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
    ended = run_tool('train.py', config, '--work-dir', folder, '--resume')
    assert (ended.status, ended.err.count('\n')) == (1, 1), ended.err
    assert words.format(config=config) in ended.err
    assert '--allow-changed' in ended.err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob('*')} == before


def test_a_stage_added_at_the_end_is_trained(run_tool, tiny_config_with, finished_run, tmp_path):
    copied = tmp_path / 'run'
    shutil.copytree(finished_run.folder, copied)
    config = tiny_config_with('stages = dict(more=dict(_base_.stages.bn, absorb_scales=False))')
    ended = run_tool('train.py', config, '--work-dir', copied, '--resume')
    assert ended.status == 0, ended.err
    assert [row['name'] for row in json.loads((copied / 'results.json').read_text())['stages']] == [*STAGES, 'more']


def test_a_stage_that_ended_as_another_network_is_refused(run_tool, tiny_config, folder):
    option = 'stages.clip.model.backbone.activation=leaky_clip'
    ended = run_tool('train.py', tiny_config, '--work-dir', folder, '--resume', '--cfg-options', option)
    assert ended.status == 1
    assert f'{folder}/clip/epoch_2.pth was trained otherwise' in ended.err
    assert "model.backbone.activation = 'leaky_clip' (was 'clip')" in ended.err


def test_a_rate_that_changed_after_its_stage_ended_is_said(run_tool, tiny_config, folder):
    option = 'stages.float.optim_wrapper.optimizer.lr=0.01'
    ended = run_tool('train.py', tiny_config, '--work-dir', folder, '--resume', '--cfg-options', option)
    assert ended.status == 0, ended.err
    assert 'stage float ended before this changed: optim_wrapper.optimizer.lr = 0.01 (was 0.05)' in ended.out


def test_of_a_truncated_newest_checkpoint_the_older_whole_one_is_named(run_tool, tiny_config, finished_run, tmp_path):
    copied = tmp_path / 'run'
    shutil.copytree(finished_run.folder, copied)
    (copied / 'bn' / 'result.json').unlink()
    last = copied / 'bn' / 'epoch_2.pth'
    last.write_bytes(last.read_bytes()[:5000])
    arguments = ('train.py', tiny_config, '--work-dir', copied, '--resume')
    ended = run_tool(*arguments)
    assert f'{last} is truncated' in ended.err
    assert f'{copied}/bn/epoch_1.pth is whole: delete {last}, and --resume goes on from there' in ended.err
    last.unlink()
    assert run_tool(*arguments).status == 0
    assert torch.equal(
        torch.load(last, weights_only=True)['state_dict']['fc.weight'], finished_run.weights('bn')['fc.weight']
    )
