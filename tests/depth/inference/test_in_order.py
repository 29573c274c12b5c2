"""Threads whose results come in order, in bounded numbers, and in memory that does not grow."""

import os
import random
import sys
import threading
import time
from functools import partial
from pathlib import Path

import cv2
import pytest

from bireal_plugin.depth.inference.in_order import THREADS, InOrder, threads
from bireal_plugin.depth.street.scene import render_street
from tests.depth.tiny_depth import tiny_depth


def test_results_come_in_order_however_long_each_takes():
    rng, taken = random.Random(0), []

    def work(number, seconds):
        time.sleep(seconds)
        return number

    with threads() as given:
        line = InOrder(given.work, taken.append)
        for number in range(50):
            line.put(partial(work, number, rng.random() / 200))
        line.finish()
    assert taken == list(range(50))


def test_never_more_are_begun_than_one_beside_those_of_the_threads():
    begun, taken, most = [], [], 0
    with threads() as given:
        line = InOrder(given.work, taken.append)
        for number in range(40):
            line.put(partial(begun.append, number))
            most = max(most, number + 1 - len(taken))
        line.finish()
    assert most == THREADS + 1
    assert len(taken) == 40


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux has priorities of threads')
def test_all_threads_give_way_to_the_network_even_if_they_ask_for_it_first():
    def nice():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with threads() as given:
        asked_first = given.work.submit(lambda: given.network.submit(nice).result()).result()
        assert asked_first == nice() < given.work.submit(nice).result()


def test_an_error_is_raised_once_and_what_has_not_begun_is_dropped():
    done, gate = [], threading.Event()

    def work(number):
        gate.wait()
        done.append(number)

    def wrong():
        raise ValueError('wrong')

    def begin():
        with threads() as given:
            line = InOrder(given.work, lambda _: None)
            for piece in (wrong, *(partial(work, number) for number in range(THREADS))):
                line.put(piece)
            threading.Timer(0.05, gate.set).start()
            line.finish()

    with pytest.raises(ValueError, match='wrong'):
        begin()
    assert len(done) <= THREADS


def resident_mib():
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4 / 1024


@pytest.mark.skipif(not Path('/proc/self/statm').is_file(), reason='the system does not tell the resident memory')
def test_memory_does_not_grow_with_the_number_of_files(run_command, tmp_path):
    """A photograph and its maps are 0.8 MiB here, so that 250 of them could not be overlooked."""
    tiny = tiny_depth(tmp_path)
    folders = [tmp_path / '50', tmp_path / '250']
    street = cv2.imencode('.jpg', render_street(0, (240, 320)).left)[1].tobytes()
    for folder in folders:
        folder.mkdir()
        for number in range(int(folder.name)):
            (folder / f'{number:03d}.jpg').write_bytes(street)
    resident = []
    for folder in folders:
        command = ('depth infer', folder, '--checkpoint', tiny.checkpoint, '--config', tiny.config, '--threads', 1)
        ended = run_command(*command, '--save', 'colour', 'npy', '--out', tmp_path / f'out{folder.name}')
        assert ended.status == 0, ended.err
        assert f'{folder.name} image(s)' in ended.out
        resident.append(resident_mib())
    assert resident[1] - resident[0] < 40
