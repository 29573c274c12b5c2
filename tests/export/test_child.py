"""Objects in processes of their own: calls go through, mistakes come back, crashes are sentences, ends are ends."""

import ctypes
import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor
from operator import truediv

import pytest

from bireal_plugin.errors import InputError
from bireal_plugin.export.child import Child, CrashError
from tests.conftest import REPOSITORY
from tests.warm import Python


class Resident:
    """An object that tells its process, adds, and fails in many ways."""

    def __init__(self, *, start=0):
        self.value = start

    def process(self):
        return os.getpid(), os.getppid()

    def add(self, number):
        self.value += number
        return self.value

    def refuse(self):
        raise InputError('the sentence of a mistake')

    def read(self):
        return ctypes.string_at(1)

    def sleep(self):
        time.sleep(60)

    def leave(self):
        os._exit(3)


def ended(process):
    """Whether no process has that number, within two seconds."""
    for _ in range(200):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_an_object_lives_in_a_process_of_its_own_and_keeps_its_state():
    first, second = Child('first', Resident), Child('second', Resident, start=10)
    assert len({os.getpid(), first('process')[0], second('process')[0]}) == 3
    assert [first('add', 1), first('add', 2), second('add', 1)] == [1, 3, 11]
    assert first.seconds >= 0


def test_a_mistake_comes_back_and_the_object_lives_on():
    child = Child('a file', Resident)
    with pytest.raises(InputError, match=r'^the sentence of a mistake$') as caught:
        child('refuse')
    assert not isinstance(caught.value, CrashError)
    assert child('add', 1) == 1


@pytest.mark.parametrize(('method', 'how'), [('read', 'signal SIGSEGV'), ('leave', 'status 3')])
def test_an_end_is_told_and_harms_no_other(method, how):
    child, other = Child('net.xml', Resident), Child('other', Resident)
    with pytest.raises(CrashError, match=rf'^net\.xml crashed: its process ended with {how}$'):
        child(method)
    with pytest.raises(CrashError, match=r'the process of net\.xml has ended'):
        child('add', 1)
    assert other('add', 1) == 1


def test_an_error_of_the_software_ends_the_child_with_its_traceback(capfd):
    with pytest.raises(CrashError, match='status 1'):
        Child('a file', truediv, 1, 0)


def test_many_megabytes_pass():
    assert Child('a file', bytes, 30_000_000)('count', b'\0') == 30_000_000


def test_threads_take_turns():
    child = Child('a file', Resident)
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(child, ['add'] * 400, [1] * 400)) == list(range(1, 401))


def test_a_child_and_its_guard_end_with_the_object():
    child = Child('a file', Resident)
    processes = child('process')
    child.close()
    child.close()
    assert all(map(ended, processes))
    child = Child('a file', Resident)
    processes = child('process')
    del child
    gc.collect()
    assert all(map(ended, processes))


def test_a_forked_process_leaves_the_children_of_its_parent_alone():
    child = Child('a file', Resident)
    process = os.fork()
    if process == 0:
        child.close()
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
    assert child('add', 1) == 1


def test_folder_and_environment_are_those_of_the_moment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('BIREAL_TEST', 'moment')
    assert Child('a file', os.getcwd)('__str__') == str(tmp_path)
    assert Child('a file', os.getenv, 'BIREAL_TEST')('__str__') == 'moment'


def test_a_child_in_the_middle_of_a_call_ends_with_the_process_that_asked():
    """As after Ctrl-C, of which the group of processes gets the signal too; nobody prints a traceback."""
    code = (
        'import os, signal, threading, time\n'
        'os.setsid()\n'
        'from bireal_plugin.export.child import Child\n'
        'from tests.export.test_child import Resident\n'
        'child = Child("a file", Resident)\n'
        'print(*child("process"), flush=True)\n'
        'threading.Thread(target=child, args=["sleep"], daemon=True).start()\n'
        'time.sleep(0.2)\n'
        'signal.signal(signal.SIGINT, lambda *_: os._exit(130))\n'
        'os.kill(0, signal.SIGINT)\n'
    )
    asked = Python(['-c', code], folder=REPOSITORY).ended()
    processes = [int(word) for word in asked.out.split()]
    assert asked.status == 130
    assert [ended(process) for process in processes] == [True, True]
    assert asked.err == ''
