"""Curves from invented logs."""

import json

import pytest
import torch

from bireal_plugin.errors import InputError
from bireal_plugin.studies.figures.curves import (
    curves_of_checkpoint,
    curves_of_folder,
    curves_of_lines,
    epoch_length,
    read_scalars,
    sampled,
    thinned,
)


def train_line(step, loss, lr=0.1):
    return dict(base_lr=lr, lr=0.0, loss=loss, epoch=1, iter=step, step=step)


def val_line(epoch, top1):
    return {'accuracy/top1': top1, 'step': epoch}


def test_iterations_become_epochs():
    lines = [
        train_line(5, 2.0),
        train_line(10, 1.0),
        val_line(1, 40.0),
        train_line(20, 0.5, lr=0.01),
        val_line(2, 50.0),
    ]
    curves = curves_of_lines('float', lines, epoch_length=10)
    assert curves.loss == [(0.5, 2.0), (1.0, 1.0), (2.0, 0.5)]
    assert curves.lr == [(0.5, 0.1), (1.0, 0.1), (2.0, 0.01)]  # the optimizer's, not that of the first group
    assert curves.top1 == [(1.0, 40.0), (2.0, 50.0)]
    assert curves.length == 2.0


def test_what_a_resumed_run_repeats_counts_once():
    lines = [train_line(10, 1.0), train_line(15, 0.9), val_line(1, 40.0), train_line(15, 0.8), val_line(1, 41.0)]
    curves = curves_of_lines('float', lines, epoch_length=10)
    assert curves.loss == [(1.0, 1.0), (1.5, 0.8)]
    assert curves.top1 == [(1.0, 41.0)]


def test_all_starts_of_a_run_are_read_in_order(tmp_path):
    for start, loss in (('20260102_000000', 0.5), ('20260101_000000', 1.0)):
        file = tmp_path / start / 'vis_data' / 'scalars.json'
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(train_line(4, loss)) + '\n')
    checkpoint = tmp_path / 'epoch_2.pth'
    torch.save(dict(meta=dict(epoch=2, iter=8), state_dict={}), checkpoint)
    assert curves_of_folder('clip', tmp_path, checkpoint).loss == [(1.0, 0.5)]


def test_a_folder_without_scalars_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'has no \*/vis_data/scalars\.json'):
        curves_of_folder('clip', tmp_path, tmp_path / 'epoch_1.pth')


def test_a_line_cut_off_at_the_end_is_left_out(tmp_path):
    file = tmp_path / 'scalars.json'
    file.write_text('{"iter": 1}\n{"iter": 2}\n{"ite')
    assert read_scalars(file) == [dict(iter=1), dict(iter=2)]


def test_a_broken_line_elsewhere_is_named(tmp_path):
    file = tmp_path / 'scalars.json'
    file.write_text('{"iter": 1}\n{"ite\n{"iter": 3}\n')
    with pytest.raises(InputError, match=r'scalars\.json, line 2 is no JSON'):
        read_scalars(file)


def test_epoch_length():
    assert epoch_length(dict(meta=dict(epoch=12, iter=276))) == 23
    assert epoch_length(dict(meta=dict(epoch=0, iter=276))) == 1


def checkpoint_with(accuracies, validated, **entries):
    curves = {'train/loss': [4.0, 2.0, 1.0, 0.5], 'train/lr': [0.1, 0.1, 0.01, 0.01], 'val/accuracy/top1': accuracies}
    hub = {key: dict(values=torch.tensor(values, dtype=torch.float64)) for key, values in curves.items()}
    info = {} if validated is None else dict(validated_at=validated)
    return dict(meta=dict(epoch=2, iter=4), message_hub=dict(curves=hub, runtime_info=info), **entries)


@pytest.mark.parametrize('entries', [{}, dict(optimizer={})], ids=['weights', 'whole'])
@pytest.mark.parametrize(
    ('accuracies', 'validated', 'expected'),
    [
        ([40.0], [2], [(1.0, 40.0)]),
        ([40.0, 50.0], [2, 4], [(1.0, 40.0), (2.0, 50.0)]),
        ([50.0], [4], [(2.0, 50.0)]),
        ([40.0, 41.0, 50.0], [2, 2, 4], [(1.0, 41.0), (2.0, 50.0)]),
        ([40.0, 50.0], None, []),
    ],
    ids=['before the last validation', 'after it', 'every second epoch', 'resumed', 'older version'],
)
def test_an_accuracy_stands_where_it_was_measured(accuracies, validated, expected, entries):
    curves = curves_of_checkpoint('x', checkpoint_with(accuracies, validated, **entries), source='a.pth')
    assert curves.loss == [(0.5, 4.0), (1.0, 2.0), (1.5, 1.0), (2.0, 0.5)]
    assert curves.lr == [(0.5, 0.1), (1.0, 0.1), (1.5, 0.01), (2.0, 0.01)]
    assert curves.top1 == expected


def test_every_checkpoint_of_a_run_tells_its_accuracies(finished_run):
    for path in finished_run.folder.glob('*/*_*.pth'):
        curves = curves_of_checkpoint('x', torch.load(path, weights_only=True), source=str(path))
        epochs = int(path.stem.rpartition('_')[2])
        measured = [epoch for epoch, _ in curves.top1]
        assert measured in ([float(i) for i in range(1, epochs)], [float(i) for i in range(1, epochs + 1)])
        if path.stem.startswith('best'):
            assert measured[-1] == epochs


def test_a_checkpoint_without_log_is_refused():
    with pytest.raises(InputError, match=r'a\.pth holds weights but no log'):
        curves_of_checkpoint('x', dict(state_dict={}), source='a.pth')


def test_thinned_keeps_the_mean():
    assert thinned([(1.0, 10.0), (2.0, 20.0), (3.0, 60.0)], most=2) == [(1.5, 15.0), (3.0, 60.0)]
    assert thinned([], most=2) == []


def test_sampled_keeps_levels_and_the_end():
    points = [(float(i), 0.1 if i < 6 else 0.01) for i in range(10)]
    assert sampled(points, most=4) == [(0.0, 0.1), (3.0, 0.1), (6.0, 0.01), (9.0, 0.01)]
