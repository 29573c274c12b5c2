"""Ctrl-C and SIGTERM: one sentence and the usual status, whatever the command is doing."""

import os
import signal
import subprocess
import sys
import time
from textwrap import indent

import pytest

import bireal
from tests.conftest import REPOSITORY, kept_signals

ENDS = {signal.SIGINT: (130, 'interrupted'), signal.SIGTERM: (143, 'terminated')}
# A command that says when it runs, in the middle of what the test puts there.
CODE = """
import multiprocessing, signal, sys, threading, time
import bireal
bireal.PATIENCE = {patience}
with bireal.Stop('files stay') as stop:
    stop.unwinding = True
{body}
"""


@pytest.fixture
def start():
    """Starts Python in a session of its own, in which signals are not ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def begin(*words):
        environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
        streams = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return subprocess.Popen([sys.executable, *words], env=environment, start_new_session=True, **streams)

    return begin


def running(start, body, *, patience=60):
    """A process in the middle of ``body``, which prints a line."""
    process = start('-c', CODE.format(body=indent(body, '    '), patience=patience))
    assert process.stdout.readline() == 'here\n'
    return process


@pytest.mark.parametrize('number', ENDS)
@pytest.mark.parametrize('delay', [0.2, 1.0])
@pytest.mark.parametrize(
    ('script', 'going_on'),
    [
        ('tools/train.py', '; what was saved stays, and --resume goes on from there'),
        ('depth/infer.py', '; finished files stay, and --skip-existing goes on after them'),
        ('tools/export.py', ''),
    ],
)
def test_during_the_imports(start, number, delay, script, going_on):
    code = f'import sys, time, runpy, bireal; sys.argv[:] = [{script!r}, "--help"]; print("here", flush=True); '
    process = start('-c', code + f'runpy.run_path({str(REPOSITORY / script)!r}, run_name="__main__")')
    assert process.stdout.readline() == 'here\n'
    time.sleep(delay)
    process.send_signal(number)
    said = process.communicate(timeout=60)
    status, word = ENDS[number]
    assert (process.returncode, *said) == (status, '', f'{word}{going_on}\n')


@pytest.mark.parametrize('number', ENDS)
def test_a_library_that_takes_it_for_its_own_error(number, capsys):
    """As mmengine's formatting of configs does."""

    def format_config():
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        except BaseException as error:
            raise SyntaxError('Failed to format the config file') from error

    stop = bireal.Stop('files stay')
    stop.unwinding = True
    with kept_signals(), pytest.raises(SystemExit) as ended, stop:
        format_config()
    status, word = ENDS[number]
    assert ended.value.code == status
    assert capsys.readouterr().err == f'{word}; files stay\n'


SWALLOWING = """
print('here', flush=True)
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
ENDING_WELL = """
try:
    print('here', flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print('the last frame')
"""
SLOW_TO_STOP = """
try:
    print('here', flush=True)
    time.sleep(60)
finally:
    print('on', flush=True)
    time.sleep(60)
"""
WITH_A_THREAD = """
threading.Thread(target=time.sleep, args=[60]).start()
print('here', flush=True)
time.sleep(60)
"""
THREAD_FAILS = """
go = threading.Event()
thread = threading.Thread(target=lambda: go.wait() / 0)
thread.start()
try:
    print('here', flush=True)
    time.sleep(60)
finally:
    go.set()
    thread.join()
"""
WITH_A_WORKER = """
work = multiprocessing.get_context('fork').Process(target=time.sleep, args=[0.5])
work.start()
try:
    print('here', flush=True)
    time.sleep(60)
finally:
    work.join()
    print(work.exitcode)
"""


def test_a_library_that_swallows_it_has_some_seconds(start):
    process = running(start, SWALLOWING, patience=1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == 'interrupted; files stay\n'
    assert process.returncode == 130


def test_what_ends_well_by_it_has_ended_well(start):
    """As a stream, whose film is whole then."""
    process = running(start, ENDING_WELL)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ('the last frame\n', '')
    assert process.returncode == 0


def test_a_second_one_while_stopping_ends_at_once(start):
    process = running(start, SLOW_TO_STOP)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == 'on\n'
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == 'terminated; files stay\n'
    assert process.returncode == 143


def test_one_after_the_end_does_not_say_it_again(start):
    """While the interpreter ends, as a thread that it waits for."""
    process = running(start, WITH_A_THREAD)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == 'interrupted; files stay\n'
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ''
    assert process.returncode == 130


def test_one_in_the_last_moments_changes_nothing(start):
    """While Python takes its modules apart, it would give signals their usual end back."""
    code = (
        'import os, time, bireal\n'
        'class Last:\n'
        '    def __del__(self, write=os.write, sleep=time.sleep): write(1, b"here\\n"); sleep(1)\n'
        'last = Last()\n'
        'with bireal.Stop("files stay"): pass\n'
    )
    process = start('-c', code)
    assert process.stdout.readline() == 'here\n'
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ('', '')
    assert process.returncode == 0


def test_tracebacks_of_threads_that_lose_their_peer_are_not_printed(start):
    process = running(start, THREAD_FAILS)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == 'interrupted; files stay\n'


def test_workers_leave_ctrl_c_to_the_process_that_forked_them(start):
    process = running(start, WITH_A_WORKER)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30) == ('0\n', 'interrupted; files stay\n')


def test_a_signal_that_a_script_ignores_stays_ignored():
    with kept_signals():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with bireal.Stop(''):
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
