"""Which stages on disk have ended and follow from each other."""

import pytest
import torch
from mmengine.config import Config

from bireal_plugin import InputError
from bireal_plugin.training.stage_results import (
    checkpoint_of,
    collect_results,
    is_done,
    note_start,
    stale_stages,
    weights_digest,
    write_json,
)

NAMES = ['float', 'clip', 'binary', 'bn']


def end(work_dir, name, digest):
    write_json(work_dir / name / 'result.json', dict(name=name, epochs=2, checkpoint='epoch_2.pth', digest=digest))


@pytest.fixture
def chain(tmp_path):
    """A finished run of four stages, each of which notes its start."""
    for previous, name in zip([None, *NAMES], NAMES, strict=False):
        if previous is not None:
            note_start(tmp_path, previous, name)
        end(tmp_path, name, f'weights of {name}')
    return tmp_path


def listed(work_dir):
    return [row['name'] for row in collect_results(work_dir, NAMES)]


def test_a_run_from_end_to_end_is_not_stale(chain):
    assert stale_stages(chain, NAMES) == set()
    assert listed(chain) == NAMES


@pytest.mark.parametrize('retrained', range(4))
def test_all_stages_behind_one_that_was_trained_again_are_stale(chain, retrained):
    end(chain, NAMES[retrained], 'others')
    assert stale_stages(chain, NAMES) == set(NAMES[retrained + 1 :])
    assert listed(chain) == NAMES[: retrained + 1]


@pytest.mark.parametrize('retrained', range(4))
def test_they_are_while_it_is_trained_too(chain, retrained):
    (chain / NAMES[retrained] / 'result.json').unlink()
    assert listed(chain) == NAMES[:retrained]


def test_training_it_again_to_the_same_weights_changes_nothing(chain):
    end(chain, 'clip', 'weights of clip')
    assert stale_stages(chain, NAMES) == set()


def test_a_later_stage_trained_from_the_new_weights_is_listed_again(chain):
    end(chain, 'clip', 'others')
    note_start(chain, 'clip', 'binary')
    end(chain, 'binary', 'weights of others')
    assert listed(chain) == ['float', 'clip', 'binary']


def test_a_stage_with_a_start_of_its_own_follows_from_none(chain):
    (chain / 'binary' / 'start.json').unlink()
    end(chain, 'float', 'others')
    assert stale_stages(chain, NAMES) == {'clip'}


def test_rows_are_what_the_table_shows(chain):
    assert collect_results(chain, NAMES)[0] == dict(name='float', epochs=2, checkpoint='float/epoch_2.pth')


@pytest.mark.parametrize(
    ('train_cfg', 'result', 'done'),
    [
        (dict(max_epochs=2), dict(epochs=2), True),
        (dict(max_epochs=3), dict(epochs=2), False),
        (dict(max_epochs=1), dict(epochs=2), True),
        (dict(by_epoch=False, max_iters=70), dict(iterations=60), False),
        (dict(by_epoch=False, max_iters=60), dict(iterations=60), True),
        (dict(max_epochs=2), None, False),
    ],
)
def test_a_stage_is_done_when_it_is_as_long_as_its_config_says(tmp_path, train_cfg, result, done):
    if result is not None:
        write_json(tmp_path / 'result.json', result)
    assert is_done(Config(dict(train_cfg=train_cfg)), tmp_path) == done


def test_the_checkpoint_of_a_stage_that_has_not_ended_is_asked_for(chain):
    assert checkpoint_of(chain, 'clip', wanted_by='binary') == chain / 'clip' / 'epoch_2.pth'
    (chain / 'clip' / 'result.json').unlink()
    with pytest.raises(InputError, match="stage 'binary' starts from stage 'clip', which has not ended"):
        checkpoint_of(chain, 'clip', wanted_by='binary')


@pytest.mark.parametrize(
    ('other', 'same'),
    [
        (dict(a=torch.tensor([1.0, 2.0]), b=torch.tensor(3, dtype=torch.int64)), True),
        (dict(a=torch.tensor([1.0, 2.5]), b=torch.tensor(3, dtype=torch.int64)), False),
        (dict(a=torch.tensor([1.0, 2.0]), c=torch.tensor(3, dtype=torch.int64)), False),
    ],
    ids=['same', 'value', 'name'],
)
def test_a_digest_is_of_the_weights_alone(tmp_path, other, same):
    weights = dict(a=torch.tensor([1.0, 2.0]), b=torch.tensor(3, dtype=torch.int64))
    torch.save(dict(state_dict=weights, meta=dict(time='monday')), tmp_path / 'one.pth')
    torch.save(dict(state_dict=other, meta=dict(time='tuesday')), tmp_path / 'two.pth')
    assert (weights_digest(tmp_path / 'one.pth') == weights_digest(tmp_path / 'two.pth')) == same
