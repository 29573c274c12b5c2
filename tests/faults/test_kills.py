"""The script that kills and compares, at a few moments; ``python -m tests.faults.kills`` is the long run."""

from tests.conftest import REPOSITORY
from tests.warm import Python


def test_commands_that_are_killed_go_on_to_what_they_leave_undisturbed():
    options = '--warm --chain 2 --training 3 --export 1 --inference 2'
    done = Python(['-m', 'tests.faults.kills', *options.split()], folder=REPOSITORY).ended(limit=600)
    assert done.status == 0, done.out + done.err
    kills = {row.split()[0]: row.split()[1] for row in done.out.splitlines()[-3:]}
    assert kills == dict(training='3', export='1', inference='2')
