"""Two processes that torchrun starts train what one process trains."""

import pytest
import torch

# Long enough that accuracy no longer swings from epoch to epoch.
LONGER = """
_base_ = {tiny!r}
custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)
custom_hooks = [*_base_.custom_hooks, dict(type='WeightsProbe')]
val_dataloader = dict(dataset=dict(subset=None))
stages = dict(
    float=dict(train_cfg=dict(max_epochs=6)),
    clip=dict(train_cfg=dict(max_epochs=4)),
    binary=dict(train_cfg=dict(max_epochs=8)),
)
"""
# Two processes with batches of 16 each are one with 32.
TWO = ('--launcher', 'pytorch', '--cfg-options', 'train_dataloader.batch_size=16')


@pytest.fixture(scope='module')
def one_and_two(run_tool, start_tool, as_run, tiny_config, tmp_path_factory):
    """The whole recipe in one process, and in two."""
    folder = tmp_path_factory.mktemp('processes')
    config = folder / 'longer.py'
    config.write_text(LONGER.format(tiny=str(tiny_config)))
    one = run_tool('train.py', config, '--work-dir', folder / 'one')
    two = start_tool('train.py', config, '--work-dir', folder / 'two', *TWO, processes=2)
    return as_run(folder / 'one', one), as_run(folder / 'two', two)


@pytest.mark.parametrize('stage', ['float', 'binary', 'bn'])
@pytest.mark.slow
def test_ranks_end_with_identical_weights_and_statistics(one_and_two, stage):
    paths = [one_and_two[1].folder / stage / f'last_{rank}.pth' for rank in (0, 1)]
    first, second = (torch.load(path, weights_only=True) for path in paths)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.slow
def test_accuracy_is_that_of_one_process_within_noise(one_and_two):
    one, two = (run.results[-1]['top1'] for run in one_and_two)
    assert two == pytest.approx(one, abs=5.0)


@pytest.mark.slow
def test_table_is_printed_once(one_and_two):
    assert one_and_two[1].ended.out.count('\nname ') == 1


@pytest.mark.slow
def test_without_batch_statistics_two_processes_compute_what_one_does(
    run_tool, start_tool, as_run, tiny_config_with, tmp_path
):
    """BatchNorm by its running statistics and no dropout: the mean of the halves' gradients is the whole batch's."""
    config = tiny_config_with(
        'model = dict(backbone=dict(norm_eval=True), drop_rate=0.0)\n'
        'stages = dict(float=dict(train_cfg=dict(max_epochs=1), optim_wrapper=dict(optimizer=dict(lr=1e-3))))'
    )
    arguments = ('train.py', config, '--stage', 'float', '--work-dir')
    one = as_run(tmp_path / 'one', run_tool(*arguments, tmp_path / 'one'))
    two = as_run(tmp_path / 'two', start_tool(*arguments, tmp_path / 'two', *TWO, processes=2))
    torch.testing.assert_close(two.weights('float'), one.weights('float'), rtol=1e-5, atol=1e-6)
