"""The order of training, what is skipped, and what happens to units that fail; training itself is invented."""

import json

import pytest
from mmengine.config import Config

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation import schedule
from bireal_plugin.studies.ablation.grid import Roles, choose_cells, plan_units
from bireal_plugin.studies.ablation.schedule import keep_settings

ROLES = Roles(dict(relu='float', clip='clip'), ('float', 'clip'), ('binary',), ())
CONFIG = Config(
    dict(model=dict(), stages={name: dict(train_cfg=dict(max_epochs=2)) for name in ('float', 'clip', 'binary')})
)
UNITS = plan_units(ROLES, choose_cells(['plain-*-Sign-STE']), [0])


@pytest.fixture
def trained(monkeypatch):
    """Replaces training: [(unit, source)] in order; units whose name is in ``trained.failing`` fail."""

    class Trained(list):
        failing = ()

    calls = Trained()

    def train(config, roles, unit, work_dir, source):
        calls.append((str(unit), source))
        if str(unit) in calls.failing:
            raise InputError('the loss became nan')
        folder = schedule.Path(work_dir, unit.folder, unit.stage)
        folder.mkdir(parents=True)
        row = dict(name=unit.stage, epochs=2, top1=50.0, seconds=60.0, checkpoint='epoch_2.pth')
        (folder / 'result.json').write_text(json.dumps(row))

    monkeypatch.setattr(schedule, 'train_unit', train)
    return calls


def run(work_dir, **options):
    said = []
    schedule.run_grid(CONFIG, ROLES, UNITS, work_dir, say=said.append, **options)
    return said


def test_each_unit_is_trained_once_from_the_checkpoint_it_starts_from(trained, tmp_path):
    run(tmp_path)
    real = 'plain/seed0/real'
    assert trained == [
        (f'{real}/float', None),
        (f'{real}/clip', f'{tmp_path}/{real}/float/epoch_2.pth'),
        ('plain/seed0/relu-Sign-STE/binary', f'{tmp_path}/{real}/float/epoch_2.pth'),
        ('plain/seed0/clip-Sign-STE/binary', f'{tmp_path}/{real}/clip/epoch_2.pth'),
    ]


def test_progress_counts_units_and_tells_the_time_left(trained, tmp_path):
    said = run(tmp_path)
    assert said[0].startswith('unit 1 of 4: plain/seed0/real/float, top-1 50.00 %, 60 s; ETA 3 min')
    assert said[3].startswith('unit 4 of 4: plain/seed0/clip-Sign-STE/binary, top-1 50.00 %, 60 s; ETA 0 min')


def test_ended_units_are_skipped(trained, tmp_path):
    run(tmp_path)
    (tmp_path / 'plain/seed0/relu-Sign-STE/binary/result.json').unlink()
    (tmp_path / 'plain/seed0/relu-Sign-STE/binary').rmdir()
    trained.clear()
    said = run(tmp_path)
    assert [name for name, _ in trained] == ['plain/seed0/relu-Sign-STE/binary']
    assert said[0] == '3 of 4 units had ended before'


def test_a_failed_unit_costs_only_what_starts_from_it(trained, tmp_path):
    trained.failing = ('plain/seed0/real/clip',)
    with pytest.raises(InputError, match=r'2 of 4 units are not trained; plain/seed0/real/clip: the loss became nan'):
        run(tmp_path)
    assert [name for name, _ in trained][-1] == 'plain/seed0/relu-Sign-STE/binary'


def test_the_report_is_written_after_every_unit_that_ended(trained, tmp_path):
    ended = []
    run(tmp_path, ended=ended.append)
    assert ended == list(UNITS)


def test_the_same_settings_may_go_on_elsewhere(tmp_path):
    config = Config(dict(optim_wrapper=dict(lr=0.1), data_root='a', train_dataloader=dict(num_workers=2)))
    keep_settings(config, tmp_path)
    config.merge_from_dict({'data_root': 'b', 'train_dataloader.num_workers': 4})
    keep_settings(config, tmp_path)


def test_other_settings_are_refused(tmp_path):
    config = Config(dict(optim_wrapper=dict(lr=0.1), milestones=(1, 2)))
    keep_settings(config, tmp_path)
    config.merge_from_dict({'optim_wrapper.lr': 0.2})
    with pytest.raises(InputError, match=r'was begun with another optim_wrapper\.lr;'):
        keep_settings(config, tmp_path)
