"""A run that was stopped and resumed ends as the run that was not."""

import json
import shutil

import pytest
import torch

STAGES = ['float', 'leaky_clip', 'clip', 'binary', 'bn']


def stopping(tiny_config_with, tmp_path, **where):
    """A config whose run stops once."""
    return tiny_config_with(
        "custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)\n"
        f"custom_hooks = _base_.custom_hooks + [dict(type='StopOnce', marker='{tmp_path}/stopped', **{where})]"
    )


def tensors(value, name=''):
    """Every tensor in nested containers, with its place."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (dict, list, tuple)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(item, f'{name}.{key}')


def assert_same_run(run, other):
    """All tensors of the last checkpoint, optimizer included, are equal bit for bit, and so are all metrics."""
    for part in ('state_dict', 'optimizer'):
        ours, theirs = (dict(tensors(each.checkpoint('bn')[part])) for each in (run, other))
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    timeless = [[{**row, 'seconds': 0} for row in each.results] for each in (run, other)]
    assert timeless[0] == timeless[1]


def copy_with(stages, finished_run, tmp_path):
    """A copy of the finished run as it was when only ``stages`` had ended."""
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    (folder / 'results.json').unlink()
    for later in STAGES[len(stages) :]:
        shutil.rmtree(folder / later)
    return folder


@pytest.mark.parametrize(('stage', 'epoch'), [('float', 0), ('binary', 1), ('binary', 2), ('bn', 1)])
@pytest.mark.slow
def test_interrupted_within_an_epoch_equals_uninterrupted(
    run_tool, as_run, tiny_config_with, tmp_path, finished_run, stage, epoch
):
    config = stopping(tiny_config_with, tmp_path, stage=stage, epoch=epoch, iteration=5)
    folder = copy_with(STAGES[: STAGES.index(stage)], finished_run, tmp_path)
    arguments = ('train.py', config, '--work-dir', folder, '--resume')
    assert run_tool(*arguments).status == 130
    assert not (folder / stage / 'result.json').exists()
    assert_same_run(as_run(folder, run_tool(*arguments)), finished_run)


@pytest.mark.slow
def test_killed_with_loader_workers_equals_uninterrupted(start_tool, as_run, tiny_config_with, tmp_path, finished_run):
    config = stopping(tiny_config_with, tmp_path, stage='clip', epoch=1, iteration=5, how='kill')
    folder = copy_with(STAGES[:2], finished_run, tmp_path)
    options = ('--cfg-options', 'train_dataloader.num_workers=2')
    arguments = ('train.py', config, '--work-dir', folder, '--resume', *options)
    assert start_tool(*arguments).status == 9
    assert_same_run(as_run(folder, start_tool(*arguments)), finished_run)


@pytest.mark.parametrize('stage', ['float', 'binary', 'bn'])
@pytest.mark.parametrize('result_written', [False, True])
@pytest.mark.slow
def test_stopped_at_a_boundary_equals_uninterrupted(
    run_tool, as_run, tiny_config, tmp_path, finished_run, stage, result_written
):
    """What a run leaves on disk that is killed after the last checkpoint of a stage, or right after its result.json."""
    folder = copy_with(STAGES[: STAGES.index(stage) + 1], finished_run, tmp_path)
    if not result_written:
        (folder / stage / 'result.json').unlink()
    ended = run_tool('train.py', tiny_config, '--work-dir', folder, '--resume')
    assert_same_run(as_run(folder, ended), finished_run)


def test_resuming_a_finished_run_trains_nothing(run_tool, tiny_config, tmp_path, finished_run):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*.pth')}
    run_tool('train.py', tiny_config, '--work-dir', folder, '--resume')
    assert {path: path.stat().st_mtime_ns for path in folder.rglob('*.pth')} == before


def test_resuming_a_finished_run_prints_its_table(run_tool, tiny_config, tmp_path, finished_run):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    ended = run_tool('train.py', tiny_config, '--work-dir', folder, '--resume')
    table = finished_run.ended.out.partition('\nname ')[2].partition('\n\n')[0]
    assert table in ended.out


def test_a_text_in_a_checkpoint_is_not_run_by_resuming_it(run_tool, tiny_config, tmp_path, finished_run):
    """mmengine runs ``meta.config`` as the Python of a config."""
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    (folder / 'bn' / 'result.json').unlink()
    last = folder / 'bn' / 'epoch_2.pth'
    content = torch.load(last, weights_only=True)
    content['meta']['config'] = f"open({str(tmp_path / 'ran')!r}, 'w')"
    torch.save(content, last)
    assert run_tool('train.py', tiny_config, '--work-dir', folder, '--resume').status == 0
    assert not (tmp_path / 'ran').exists()


def test_a_run_stopped_before_validation_still_keeps_its_best_epoch(run_tool, tiny_config, tmp_path, finished_run):
    """The state after an epoch's checkpoint and before its validation: no best checkpoint has been written."""
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    best = next((folder / 'bn').glob('best_*.pth'))
    best.unlink()
    (folder / 'bn' / 'result.json').unlink()
    last = folder / 'bn' / 'epoch_2.pth'
    content = torch.load(last, weights_only=True)
    info = content['message_hub']['runtime_info']
    for key in ('best_score', 'best_ckpt'):
        info.pop(key)
    info['validated_at'] = info['validated_at'][:1]  # it knows of the second where the last epoch was the best
    torch.save(content, last)
    run_tool('train.py', tiny_config, '--work-dir', folder, '--resume')
    assert (folder / 'bn' / 'best_accuracy_top1_epoch_2.pth').is_file()


def test_a_resumed_copy_of_a_run_deletes_nothing_in_the_run_that_it_was_copied_from(run_tool, tiny_config, tmp_path):
    """Checkpoints name the best one by its full path, and a better one replaces it."""
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    options = ('--cfg-options', 'stages.float.train_cfg.max_epochs={}')
    arguments = ('train.py', tiny_config, '--stage', 'float', *options[:1])
    run_tool(*arguments, options[1].format(1), '--work-dir', original)
    shutil.copytree(original, copy)
    before = sorted(path.name for path in (original / 'float').glob('*.pth'))
    run_tool(*arguments, options[1].format(3), '--work-dir', copy, '--resume')
    assert sorted(path.name for path in (original / 'float').glob('*.pth')) == before
    assert len([*(copy / 'float').glob('best_*.pth')]) == 1


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        *[('clip/result.json', text) for text in ('', '{"name": "cl', '[]', '\0')],
        *[('bn/result.json', '{"name": "bn'), ('results.json', '{"stages": [')],
    ],
    ids=['empty', 'half', 'list', 'zeros', 'half of the last', 'half of the table'],
)
def test_a_damaged_result_is_made_again_without_training(run_tool, tiny_config, tmp_path, finished_run, name, text):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    whole = json.loads((folder / name).read_text())
    (folder / name).write_text(text)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('epoch_1.pth')}
    ended = run_tool('train.py', tiny_config, '--work-dir', folder, '--resume')
    assert ended.status == 0, ended.err
    again = json.loads((folder / name).read_text())
    for row in (whole, again):
        row.pop('seconds', None)
    assert again == whole
    assert not (folder / 'earlier').exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob('epoch_1.pth')} == before


def test_a_stage_whose_start_is_damaged_starts_anew(run_tool, tiny_config, tmp_path, finished_run):
    """It may have started from other weights than the stage before has now."""
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    (folder / 'bn' / 'start.json').write_text('{')
    ended = run_tool('train.py', tiny_config, '--work-dir', folder, '--resume')
    assert (trained(ended, folder), ended.status) == (['bn'], 0)


@pytest.mark.parametrize('interval', [1, 2])
def test_validation_curves_of_a_resumed_run_are_those_of_the_run_that_was_not_stopped(
    run_tool, tiny_config, tmp_path, interval
):
    """Stopped after the first epoch, whose checkpoint is written before and, as the best one, after its validation."""
    intervals = f'stages.float.train_cfg.val_interval={interval}'
    arguments = ('train.py', tiny_config, '--stage', 'float', '--cfg-options', intervals)
    run_tool(*arguments, '--work-dir', tmp_path / 'whole')
    shutil.copytree(tmp_path / 'whole', tmp_path / 'run')
    for name in ('epoch_3.pth', 'result.json', '../results.json'):
        (tmp_path / 'run' / 'float' / name).unlink()
    run_tool(*arguments, '--work-dir', tmp_path / 'run', '--resume')
    hubs = [torch.load(tmp_path / name / 'float' / 'epoch_3.pth')['message_hub'] for name in ('whole', 'run')]
    curves = [{key: curve['values'].tolist() for key, curve in hub['curves'].items() if '/top' in key} for hub in hubs]
    assert len(curves[0]['val/accuracy/top1']) == {1: 3, 2: 2}[interval]
    assert curves[0] == curves[1]
    assert hubs[0]['runtime_info']['validated_at'] == hubs[1]['runtime_info']['validated_at']


def trained(ended, folder):
    """The stages that a run trained or continued, in order."""
    return [stage for stage in STAGES if f'stage {stage}: {folder / stage}' in ended.out]


@pytest.mark.slow
def test_a_finished_stage_that_is_to_be_longer_is_continued_and_the_later_ones_start_anew(
    run_tool, tiny_config, tmp_path, finished_run
):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    arguments = ('train.py', tiny_config, '--work-dir', folder, '--resume')
    run = run_tool(*arguments, '--cfg-options', 'stages.binary.train_cfg.max_epochs=4')
    assert trained(run, folder) == ['binary', 'bn']
    content = torch.load(folder / 'binary' / 'epoch_4.pth', weights_only=True)
    assert len(content['message_hub']['curves']['train/loss']['values']) == content['meta']['iter']  # all four epochs
    assert [path.name for path in (folder / 'earlier').glob('*/*')] == ['bn']
    started = torch.load(folder / 'bn' / 'start.pth', weights_only=True)['state_dict']
    assert torch.equal(started['fc.weight'], content['state_dict']['fc.weight'])


@pytest.mark.slow
def test_retraining_one_stage_takes_the_later_ones_out_of_the_table_until_they_are_trained_again(
    run_tool, as_run, tiny_config, tmp_path, finished_run
):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    arguments = ('train.py', tiny_config, '--work-dir', folder)
    options = ('--cfg-options', 'stages.clip.train_cfg.max_epochs=1')
    alone = as_run(folder, run_tool(*arguments, '--stage', 'clip', *options))
    assert [row['name'] for row in alone.results] == STAGES[:3]
    whole = as_run(folder, run_tool(*arguments, '--resume', *options))
    assert trained(whole.ended, folder) == STAGES[3:]
    assert [row['name'] for row in whole.results] == STAGES
