"""A forked Python does what a new one does."""

import os
import subprocess
import sys

import pytest

from tests.warm import Ended, Python

TELLING = """
import atexit, os, sys
atexit.register(print, 'the end')
print(__name__, sys.argv, os.getcwd(), sorted(key for key in os.environ if key != 'LC_CTYPE'), os.environ['WORD'])
print('a warning', file=sys.stderr)
"""
ENDS = {
    'well': '',
    'by a status': 'sys.exit(7)',
    'by a sentence': 'sys.exit("error: a mistake")',
    'by an error': 'assert sys.argv == []',
    'by a signal': 'sys.stdout.flush(); os.kill(os.getpid(), 9)',
}


@pytest.mark.parametrize('kind', ['script', '-c', '-m'])
@pytest.mark.parametrize('end', ENDS)
def test_command_line_folder_environment_output_and_status_are_the_same(kind, end, tmp_path):
    program = TELLING + ENDS[end]
    (tmp_path / 'telling.py').write_text(program)
    words = dict(script=[str(tmp_path / 'telling.py')]).get(kind, [kind, program if kind == '-c' else 'telling'])
    words += ['one', '--two']
    variables = dict(WORD='ä b', OMP_NUM_THREADS='1')
    forked = Python(words, folder=tmp_path, **variables).ended()
    command, environment = [sys.executable, *words], {**os.environ, **variables}
    new = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    last = [text.splitlines()[-1] for text in (forked.err, new.stderr)]
    assert forked == Ended(new.returncode, new.stdout, forked.err)
    assert last[0] == last[1]
