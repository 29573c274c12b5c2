"""tools/test.py measures again what training reported."""

import json

import pytest
import torch


def measured(run_tool, tmp_path, *arguments):
    """The metrics it writes, and how it ended."""
    ended = run_tool('test.py', *arguments, '--work-dir', tmp_path / 'test', '--out', tmp_path / 'metrics.json')
    assert ended.status == 0, ended.err
    return json.loads((tmp_path / 'metrics.json').read_text()), ended


def reported(finished_run, stage):
    row = next(row for row in finished_run.results if row['name'] == stage)
    return finished_run.folder / row['checkpoint'], {'accuracy/top1': row['top1'], 'accuracy/top5': row['top5']}


@pytest.mark.parametrize('stage', ['float', 'leaky_clip', 'clip', 'binary', 'bn'])
def test_accuracy_is_that_of_results_json(run_tool, tiny_config, finished_run, tmp_path, stage):
    checkpoint, expected = reported(finished_run, stage)
    metrics, _ = measured(run_tool, tmp_path, tiny_config, checkpoint)
    assert metrics == expected


def test_stage_of_a_moved_file_is_the_one_it_carries(run_tool, tiny_config, finished_run, tmp_path):
    checkpoint, expected = reported(finished_run, 'bn')
    moved = tmp_path / 'moved.pth'
    moved.write_bytes(checkpoint.read_bytes())
    metrics, _ = measured(run_tool, tmp_path, tiny_config, moved)
    assert metrics == expected


def test_printed_metrics_are_those_in_the_file(run_tool, tiny_config, finished_run, tmp_path):
    metrics, ended = measured(run_tool, tmp_path, tiny_config, reported(finished_run, 'bn')[0])
    assert json.loads(ended.out[ended.out.rindex('{') :]) == metrics


def test_testing_leaves_the_run_alone(run_tool, tiny_config, finished_run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in finished_run.folder.rglob('*')}
    measured(run_tool, tmp_path, tiny_config, reported(finished_run, 'bn')[0])
    assert {path: path.stat().st_mtime_ns for path in finished_run.folder.rglob('*')} == before


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['absent.pth'], 'checkpoint absent.pth does not exist'),
        (['CHECKPOINT', '--stage', 'step1'], "there is no stage 'step1'; the stages are: float"),
        (['CHECKPOINT', '--cfg-options', 'model.backbone.depth=34'], 'these weights belong to another network'),
        (['CHECKPOINT', '--launcher', 'pytorch'], '--launcher pytorch needs RANK'),
        (['CHECKPOINT', '--cfg-options', 'test_dataloader.dataset.size=0'], 'size must be a whole number'),
    ],
    ids=['missing', 'stage', 'network', 'launcher', 'data'],
)
def test_mistake_is_one_sentence(run_tool, tiny_config, finished_run, tmp_path, arguments, words):
    checkpoint = reported(finished_run, 'bn')[0]
    arguments = [checkpoint if argument == 'CHECKPOINT' else argument for argument in arguments]
    ended = run_tool('test.py', tiny_config, *arguments, '--work-dir', tmp_path / 'test')
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert ended.err.startswith('error: ')
    assert words in ended.err


def test_stage_of_a_config_without_stages_is_refused(run_tool, tmp_path):
    config = tmp_path / 'plain.py'
    config.write_text("work_dir = 'nowhere'\n")
    torch.save(dict(state_dict={'w': torch.ones(1)}), tmp_path / 'any.pth')
    ended = run_tool('test.py', config, tmp_path / 'any.pth', '--stage', 'bn')
    assert (ended.status, ended.err) == (1, f'error: --stage bn: {config} has no stages\n')
