"""The console command ``bireal``: names, help, completion, and how a command is spelled."""

import subprocess
import sys

import pytest

import bireal
from bireal_plugin.version import __version__
from tests.conftest import REPOSITORY, kept_signals


@pytest.fixture
def started(monkeypatch, capsys):
    """``started('train', '--help')`` is the status, stdout and stderr of ``bireal train --help``."""

    def start(*words, main=bireal.main):
        monkeypatch.setattr(sys, 'argv', ['bireal', *map(str, words)])
        with kept_signals(), pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return start


@pytest.mark.parametrize('name', bireal.COMMANDS)
def test_help_of_every_command_fits_on_one_screen(started, name):
    status, out, _ = started(*name.split(), '--help')
    assert status == 0
    lines = out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100


def without_torch(*words):
    """What ``bireal`` says and its status, 1 if it imports torch."""
    code = 'import sys, bireal\ntry:\n    bireal.main()\nfinally:\n    assert "torch" not in sys.modules'
    return subprocess.run([sys.executable, '-c', code, *words], cwd=REPOSITORY, capture_output=True, text=True)


def test_the_version_is_printed_without_torch():
    done = without_torch('--version')
    assert (done.returncode, done.stdout) == (0, f'{__version__}\n'), done.stderr


@pytest.mark.parametrize('words', [[], ['--help'], ['depth'], ['depth', '--help'], ['frobnicate']])
def test_names_are_listed_without_torch(words):
    done = without_torch(*words)
    assert done.returncode == (2 if words == ['frobnicate'] else 0), done.stderr
    assert all(
        name.split()[-1] in done.stdout + done.stderr for name in bireal.COMMANDS if ('depth' in words) == (' ' in name)
    )


def test_nothing_that_a_command_imports_is_looked_through_for_garbage():
    """It stays. A process that has the package already keeps its garbage collector as it is."""
    code = """if True:
        import contextlib, gc, sys, bireal
        sys.argv = ['bireal', 'zoo', '--help']
        for first in (True, False):
            with contextlib.suppress(SystemExit):
                bireal.main()
            assert gc.isenabled()
            assert (gc.get_freeze_count() > 100_000) == first
            gc.unfreeze()
    """
    done = subprocess.run([sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_is_listed_with_its_own_line(started):
    listed = started('--help')[1] + started('depth', '--help')[1]
    assert all(' '.join(listed.split()).count(line) == 1 for line in bireal.COMMANDS.values())


def test_usage_and_examples_are_spelled_as_the_command_was_started(started, monkeypatch):
    monkeypatch.chdir(REPOSITORY)

    def script():
        monkeypatch.setattr(sys, 'argv', ['tools/inspect_packed.py', '--help'])
        bireal.run('inspect')

    assert 'bireal inspect net.safetensors' in started('inspect', '--help')[1]
    assert 'python tools/inspect_packed.py net.safetensors' in started(main=script)[1]


@pytest.mark.parametrize('shell', ['bash', 'zsh'])
def test_completion_knows_every_command_and_option(shell):
    text = bireal.completion(*bireal._parsers(), shell)
    assert all(word in text for name in bireal.COMMANDS for word in name.split())
    assert all(word in text for word in ('--cfg-options', '--skip-existing', '--median-scaling'))


def test_mistake_is_one_sentence_and_status_1(started):
    assert started('inspect', 'absent.safetensors')[::2] == (
        1,
        'error: packed file absent.safetensors does not exist\n',
    )
