"""Sessions of every engine under eight threads at once, and in processes that were forked from their own."""

import copy
import itertools
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export import Session, export
from bireal_plugin.export.child import Child
from bireal_plugin.export.engines import ENGINES, engine_of
from bireal_plugin.export.session_io import ChildSession, pinned
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.export.test_engines import FORMATS, PACKAGES
from tests.folding.test_fold import trained

THREADS = 8
SHAPE = (1, 4, 6, 7)
BACKBONE = dict(base_channels=4, in_channels=4, stem='cifar', num_stages=1, out_indices=(0,))
CONFIG = dict(type='BiRealClassifier', backbone=dict(type='BiRealResNet', depth=18, **BACKBONE), num_classes=5)


@pytest.fixture(scope='module', params=FORMATS)
def path(request, tmp_path_factory):
    format = request.param
    pytest.importorskip(PACKAGES.get(format, 'torch'))
    torch.manual_seed(0)
    if format == 'packed':
        net, options = BiRealClassifier(BiRealResNet(18, **BACKBONE), 5), dict(config=CONFIG)
    else:
        layers = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), BinaryConv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        net, options = layers, {}
    target = tmp_path_factory.mktemp(format) / f'net{ENGINES[format].suffix}'
    return export(trained(net), format, SHAPE, path=target, **options)


@pytest.fixture(scope='module')
def answers(path):
    """Inputs, with what one thread gets for each."""
    inputs = np.random.default_rng(0).standard_normal((16, *SHAPE), np.float32)
    with Session(path, threads=1) as session:
        return [(x, session(x)[0]) for x in inputs]


@pytest.mark.parametrize('threads', [1, None])
def test_eight_threads_get_the_answers_of_one(threads, path, answers):
    count = 100 if path.suffix == '.qonnx' else 1000  # which runs one call at a time, each of many milliseconds
    calls = itertools.islice(itertools.cycle(answers), count)
    with Session(path, threads=threads) as session, ThreadPoolExecutor(THREADS) as pool:
        right = list(pool.map(lambda pair: np.array_equal(session(pair[0])[0], pair[1]), calls))
    assert right == [True] * count


def test_a_session_that_ran_answers_in_forked_processes_too(path, answers):
    session = Session(path, threads=2)
    session(answers[0][0])
    Child('a nursery', dict)  # that both processes find, or each would start its own
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if all(np.allclose(session(x)[0], y, atol=1e-5) for x, y in answers) else 1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert np.allclose(session(answers[1][0])[0], answers[1][1], atol=1e-5)


def session_of_no_file(path, folder):
    """A session of a copy of the file, which is gone."""
    for file in path.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    session = Session(folder / path.name, threads=1)
    for file in folder.iterdir():
        file.unlink()
    return session


def test_a_forked_session_of_a_file_that_is_gone_is_told(path, answers, tmp_path):
    session = session_of_no_file(path, tmp_path)
    child = os.fork()
    if child == 0:
        try:
            session(answers[0][0])
        except InputError as error:
            os._exit(0 if 'open a session there' in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize('way', [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
def test_a_session_is_pickled_and_copied_as_its_file(way, path, answers, monkeypatch):
    monkeypatch.chdir(path.parent)
    with Session(path.name, threads=1) as session:
        session(answers[0][0])
        monkeypatch.chdir('/')
        with way(session) as other:
            assert type(other) is type(session)
            assert all(np.array_equal(other(x)[0], y) for x, y in answers)
    with pytest.raises(InputError, match=f'^the session of {path.name} is closed; open another one$'):
        way(session)


def test_a_session_in_a_process_of_its_own_is_copied_as_one(path, answers):
    with ChildSession(engine_of(path).session, path, threads=1) as one, copy.copy(one) as other:
        assert type(other) is ChildSession
        assert other.child is not one.child
        assert np.array_equal(other(answers[0][0])[0], answers[0][1])


def test_a_session_of_no_file_is_not_pickled(path, tmp_path):
    session = session_of_no_file(path, tmp_path)
    with pytest.raises(InputError, match=r'is no file to be read again in another process; open a session there$'):
        pickle.dumps(session)


def test_threads_that_pin_leave_torch_its_own_number():
    before, seen = torch.get_num_threads(), []

    def work(number):
        with pinned(number):
            seen.append((number, torch.get_num_threads()))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, [1, 2, 3, 4] * 50))
    assert all(wanted == got for wanted, got in seen)
    assert torch.get_num_threads() == before
