"""tools/train.py on a recipe: what it leaves behind, and its flags."""

import json
import re
import shutil

import pytest
import torch
from mmengine.config import Config

from bireal_plugin.text_table import text_table

STAGES = ['float', 'leaky_clip', 'clip', 'binary', 'bn']


def test_results_have_the_documented_shape(finished_run):
    content = json.loads((finished_run.folder / 'results.json').read_text())
    assert list(content) == ['stages']
    types = [{key: type(value) for key, value in row.items()} for row in content['stages']]
    assert types == [dict(name=str, epochs=int, top1=float, top5=float, seconds=float, checkpoint=str)] * 5


def test_results_name_the_stages_in_order_with_their_epochs(finished_run, tiny_config):
    stages = Config.fromfile(tiny_config).stages
    expected = [(name, stages[name].train_cfg.max_epochs) for name in STAGES]
    assert [(row['name'], row['epochs']) for row in finished_run.results] == expected


def test_accuracies_in_the_results_are_those_of_the_last_epoch_in_percent(finished_run):
    for row in finished_run.results:
        log = next((finished_run.folder / row['name']).rglob('scalars.json')).read_text()
        last = [json.loads(line) for line in log.splitlines()][-1]
        assert (row['epochs'], row['top1'], row['top5']) == (last['step'], last['accuracy/top1'], last['accuracy/top5'])


def test_checkpoints_in_the_results_are_relative_paths_of_the_last_epoch(finished_run):
    assert [row['checkpoint'] for row in finished_run.results] == [
        f'{row["name"]}/epoch_{row["epochs"]}.pth' for row in finished_run.results
    ]
    assert all((finished_run.folder / row['checkpoint']).is_file() for row in finished_run.results)


def test_table_at_the_end_has_one_row_per_stage(finished_run):
    end = f'\n\n{text_table(finished_run.results)}\n\nwritten to {finished_run.folder}/results.json\n'
    assert finished_run.ended.out.endswith(end[1:])
    assert [line.split()[0] for line in text_table(finished_run.results).splitlines()[2:]] == STAGES


def test_the_bn_stage_leaves_all_but_batch_norm_as_it_was(finished_run):
    before, after = finished_run.weights('binary'), finished_run.weights('bn')
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name for name in changed if not re.search(r'(bn\d|downsample\.2)\.', name)} == {
        name
        for name in after
        if re.search(r'layer\d\.\d+\.conv\d\.weight', name)  # signs
    }
    assert 'backbone.bn1.weight' in changed


def test_tensorboard_curves_are_written_where_it_is_installed(finished_run):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for row in finished_run.results:
        events = EventAccumulator(str(next((finished_run.folder / row['name']).rglob('vis_data'))))
        events.Reload()
        curve = [event.value for event in events.Scalars('accuracy/top1')]
        assert len(curve) == row['epochs']
        assert curve[-1] == pytest.approx(row['top1'], abs=1e-5)


def test_second_run_moves_the_first_aside(run_tool, tiny_config, finished_run, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    options = [f'stages.{name}.train_cfg.max_epochs=1' for name in STAGES]
    run_tool('train.py', tiny_config, '--work-dir', folder, '--cfg-options', *options)
    (earlier,) = (folder / 'earlier').iterdir()
    moved = {path.relative_to(earlier): path.read_bytes() for path in earlier.rglob('*') if path.is_file()}
    assert moved == before


def test_stage_alone_moves_only_its_own_folder_aside(run_tool, tiny_config, finished_run, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    run_tool('train.py', tiny_config, '--work-dir', folder, '--stage', 'bn')
    (earlier,) = (folder / 'earlier').iterdir()
    assert {path.name for path in earlier.iterdir()} == {'bn', 'results.json'}


def test_override_changes_one_stage(run_tool, tiny_config, finished_run, tmp_path):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    option = 'stages.bn.train_cfg.max_epochs=1'
    run_tool('train.py', tiny_config, '--work-dir', folder, '--stage', 'bn', '--cfg-options', option)
    rows = json.loads((folder / 'results.json').read_text())['stages']
    assert [row['epochs'] for row in rows] == [3, 1, 2, 3, 1]


@pytest.mark.parametrize('flags', [(), ('--auto-scale-lr',)], ids=['warned', 'scaled'])
def test_a_batch_that_the_learning_rate_is_not_for(run_tool, tiny_config_with, tmp_path, flags):
    config = tiny_config_with('auto_scale_lr = dict(base_batch_size=256)\ntrain_dataloader = dict(batch_size=32)')
    arguments = ('train.py', config, '--work-dir', tmp_path / 'run', '--stage', 'float', *flags)
    short = ('stages.float.train_cfg.max_epochs=1', 'train_dataloader.dataset.subset=64')
    ended = run_tool(*arguments, '--cfg-options', *short, 'optim_wrapper.accumulative_counts=2')
    assert ended.status == 0, ended.err
    log = next((tmp_path / 'run').rglob('scalars.json')).read_text()
    rate = Config.fromfile(config).stages.float.optim_wrapper.optimizer.lr
    assert json.loads(log.splitlines()[0])['lr'] == (rate * 64 / 256 if flags else rate)
    told = [line for line in ended.out.splitlines() + ended.err.splitlines() if 'is for a total batch of' in line]
    assert len(told) == (0 if flags else 1)
    words = '0.05 is for a total batch of 256 images, and this run has 64 (1 process x 32 x 2 accumulated)'
    assert all(words in line and line.endswith('--auto-scale-lr would train with 0.0125') for line in told)


def test_work_directory_is_named_after_the_config(run_tool, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ('stages.float.train_cfg.max_epochs=1', 'train_dataloader.dataset.subset=32')
    ended = run_tool('train.py', tiny_config, '--stage', 'float', '--cfg-options', *options)
    assert re.search(r'written to work_dirs/tiny/results\.json\n$', ended.out)
    assert (tmp_path / 'work_dirs' / 'tiny' / 'results.json').is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason='has a GPU, where AMP is float16')
def test_amp_on_a_cpu_trains_in_bfloat16_and_resumes(run_tool, tiny_config, tmp_path):
    """The loss falls, and is not that of float32."""
    epochs = 'stages.float.train_cfg.max_epochs'
    first = ('train.py', tiny_config, '--stage', 'float', '--work-dir')
    for folder, flags in (('amp', ['--amp']), ('amp', ['--amp', '--resume']), ('full', [])):
        length = 3 if '--resume' in flags else 2
        ended = run_tool(*first, tmp_path / folder, *flags, '--cfg-options', f'{epochs}={length}')
        assert ended.status == 0, ended.err
    files = (tmp_path / 'amp' / 'float' / 'epoch_3.pth', tmp_path / 'full' / 'float' / 'epoch_2.pth')
    amp, full = (torch.load(file, weights_only=True) for file in files)
    assert 'loss_scaler' in amp['optimizer']
    losses, others = (each['message_hub']['curves']['train/loss']['values'] for each in (amp, full))
    assert losses[-13:].mean() < losses[:13].mean()
    assert losses[0] != others[0]
    torch.testing.assert_close(losses[0], others[0], rtol=0.02, atol=0)
