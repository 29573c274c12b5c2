"""What the Makefile and constraints.txt do on machines other than this one."""

import shutil
import subprocess
from collections import Counter

import pytest
from packaging.requirements import Requirement

from tests.conftest import REPOSITORY

LINES = [line for line in (REPOSITORY / 'constraints.txt').read_text().splitlines() if not line.startswith('#')]


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12', '3.13'])
def test_every_python_has_one_version_of_a_package(python):
    requirements = [Requirement(line) for line in LINES]
    meant = [one for one in requirements if one.marker is None or one.marker.evaluate({'python_version': python})]
    assert Counter(one.name for one in meant) == Counter({one.name for one in requirements})


@pytest.mark.skipif(shutil.which('make') is None, reason='make is not installed')
@pytest.mark.parametrize('available', [False, True])
def test_larqs_interpreter_may_be_missing(tmp_path, available):
    """Where there is no wheel its environment is removed again, with a sentence."""
    venv = tmp_path / 'venv'
    (venv / 'bin').mkdir(parents=True)
    (venv / 'larq').mkdir()
    for name, text in dict(python='exit 0', uv=f'exit {0 if available else 1}').items():
        (venv / 'bin' / name).write_text(f'#!/bin/sh\n{text}\n')
        (venv / 'bin' / name).chmod(0o755)
    (venv / '.uv').touch()
    command = ['make', '--silent', f'VENV={venv}', str(venv / '.larq')]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ((venv / '.larq').exists(), (venv / 'larq').exists()) == (available, available)
    assert ('larq-compute-engine cannot be installed for this Python' in ended.stdout) != available
