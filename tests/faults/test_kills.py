"""The script that kills and compares, at a few moments; ``python -m tests.faults.kills`` is the long run."""

import os
import subprocess
import sys

from tests.conftest import REPOSITORY


def test_commands_that_are_killed_go_on_to_what_they_leave_undisturbed():
    options = '--warm --chain 2 --training 3 --export 1 --inference 2'
    command = [sys.executable, '-m', 'tests.faults.kills', *options.split()]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    kills = {row.split()[0]: row.split()[1] for row in done.stdout.splitlines()[-3:]}
    assert kills == dict(training='3', export='1', inference='2')
