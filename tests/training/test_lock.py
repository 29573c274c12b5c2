"""Two runs in one work directory: the second is refused while the first is alive, and only then."""

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from bireal_plugin import InputError
from bireal_plugin.training import lock
from bireal_plugin.training.lock import NAME, only_run


def content(folder):
    return json.loads((folder / NAME).read_text())


def left_behind(folder, **changed):
    """The file of a run that was killed."""
    with only_run(folder):
        told = content(folder)
    (folder / NAME).write_text(json.dumps({**told, **changed}))


def test_a_second_run_is_refused_with_process_and_host_of_the_first_and_changes_nothing(
    run_tool, tiny_config, finished_run, tmp_path
):
    folder = tmp_path / 'run'
    shutil.copytree(finished_run.folder, folder)
    with only_run(folder):
        before = {path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file()}
        for flags in ([], ['--resume'], ['--stage', 'bn']):
            ended = run_tool('train.py', tiny_config, '--work-dir', folder, *flags)
            assert (ended.status, ended.err.count('\n')) == (1, 1)
            assert f'{folder} is in use by process {os.getpid()} on {socket.gethostname()}' in ended.err
            assert f'delete {folder / NAME}' in ended.err
        assert {path: path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file()} == before
    assert not (folder / NAME).exists()


def test_a_run_without_stages_is_held_likewise(run_tool, tiny_config_with, tmp_path):
    config = tiny_config_with('stages = None\ntrain_cfg = dict(max_epochs=1)')
    with only_run(tmp_path / 'run'):
        ended = run_tool('train.py', config, '--work-dir', tmp_path / 'run')
    assert 'is in use by process' in ended.err


def test_a_run_that_ends_in_a_mistake_leaves_no_lock(run_tool, tiny_config, tmp_path):
    option = 'load_from=absent.pth'
    assert run_tool('train.py', tiny_config, '--work-dir', tmp_path, '--cfg-options', option).status == 1
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    'changed',
    [dict(process=2**22 + 1), dict(started='17'), dict(process=os.getpid(), started=None)],
    ids=['no such process', 'another start', 'of this process, without its start'],
)
def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path, changed, capsys):
    left_behind(tmp_path, **changed)
    with only_run(tmp_path):
        assert content(tmp_path)['process'] == os.getpid()
    assert 'is gone; this one goes on' in capsys.readouterr().out
    assert not (tmp_path / NAME).exists()


def test_a_process_that_has_ended_and_is_not_yet_waited_for_is_gone(tmp_path):
    child = subprocess.Popen([sys.executable, '-c', ''])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    left_behind(tmp_path, process=child.pid)
    with only_run(tmp_path):
        pass
    child.wait()


@pytest.mark.parametrize(('silent', 'refused'), [(0, True), (60, True), (130, False)])
def test_a_run_on_another_host_is_alive_while_it_gives_signs_of_life(tmp_path, silent, refused):
    left_behind(tmp_path, host='elsewhere')
    then = time.time() - silent
    os.utime(tmp_path / NAME, (then, then))
    if not refused:
        with only_run(tmp_path):
            assert content(tmp_path)['host'] == socket.gethostname()
        return
    with pytest.raises(InputError, match=f'process {os.getpid()} on elsewhere'), only_run(tmp_path):
        pass
    assert content(tmp_path)['host'] == 'elsewhere'


@pytest.mark.parametrize('text', ['', '{', '[]', '"x"'])
def test_a_damaged_lock_counts_by_its_time(tmp_path, text):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(InputError, match='is in use'), only_run(tmp_path):
        pass
    os.utime(tmp_path / NAME, (0, 0))
    with only_run(tmp_path):
        pass


def test_signs_of_life_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, 'BEAT', 0.02)
    with only_run(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        deadline = time.monotonic() + 20
        while (tmp_path / NAME).stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (tmp_path / NAME).stat().st_mtime > 0


def take(folder, start, done, said):
    start.wait()
    try:
        with only_run(folder):
            said.put('took')
            done.wait(60)
    except InputError:
        said.put('refused')


def test_of_many_that_find_a_stale_lock_at_once_one_takes_it(tmp_path):
    left_behind(tmp_path, process=2**22 + 1)
    context = multiprocessing.get_context('fork')
    start, done, said = context.Barrier(8), context.Event(), context.Queue()
    running = [context.Process(target=take, args=(tmp_path, start, done, said)) for _ in range(8)]
    for process in running:
        process.start()
    answers = sorted(said.get(timeout=60) for _ in running)
    done.set()
    for process in running:
        process.join(60)
    assert answers == ['refused'] * 7 + ['took']
    assert not (tmp_path / NAME).exists()
