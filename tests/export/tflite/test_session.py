"""The worker process of a session: found, used, and ended, whatever happens to it."""

import gc
import os
import signal
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.tflite.engine import TFLiteSession, export_tflite
from bireal_plugin.export.tflite.larq_process import PYTHON_VARIABLE
from tests.export.tflite.test_binary import needs_larq

SHAPE = (2, 3, 5, 6)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return export_tflite(nn.ReLU(), tmp_path_factory.mktemp('session') / 'net.tflite', SHAPE)


def ended(pid):
    """Whether no process has that number, within two seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@needs_larq
@pytest.mark.parametrize('as_given', [lambda x: x, torch.Tensor.numpy, lambda x: x.requires_grad_()])
def test_tensors_and_arrays_are_taken(path, as_given):
    x = torch.randn(SHAPE)
    want = x.relu().numpy()
    with TFLiteSession(path) as session:
        (got,) = session(as_given(x))
    assert got.dtype == np.float32
    assert np.array_equal(got, want)


@needs_larq
@pytest.mark.parametrize('shape', [(2, 4, 5, 6), (2, 3, 6, 5), (3, 5, 6), (0, 3, 5, 6)])
def test_wrong_shapes_are_told_and_harm_nothing(path, shape):
    with TFLiteSession(path, threads=1) as session:
        with pytest.raises(InputError, match=r'shape \(batch, 3, 5, 6\)'):
            session(np.zeros(shape, np.float32))
        assert session(np.ones(SHAPE, np.float32))[0].sum() == np.prod(SHAPE)


def test_a_missing_environment_is_told_with_the_way_to_make_it(path, monkeypatch, tmp_path):
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / 'python'))
    with pytest.raises(InputError, match=r'make \.venv/\.larq.*larq-compute-engine==0\.16\.0'):
        TFLiteSession(path)


def test_without_a_variable_the_environment_lies_in_this_one(path, monkeypatch, tmp_path):
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    with pytest.raises(InputError, match=f'^{tmp_path}/larq/bin/python does not exist'):
        TFLiteSession(path)


def test_an_environment_without_the_interpreter_is_told(path, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)
    with pytest.raises(InputError, match='has no package larq_compute_engine'):
        TFLiteSession(path)


def test_a_program_that_is_no_python_is_told(path, monkeypatch, tmp_path):
    program = tmp_path / 'python'
    program.write_text('no program')
    monkeypatch.setenv(PYTHON_VARIABLE, str(program))
    with pytest.raises(InputError, match='cannot be started'):
        TFLiteSession(path)


@needs_larq
def test_a_worker_that_was_killed_is_told(path):
    session = TFLiteSession(path, threads=1)
    os.kill(session.worker.process.pid, signal.SIGKILL)
    with pytest.raises(InputError, match=r'ended with status -9 on .*net\.tflite'):
        session(np.zeros(SHAPE, np.float32))


@needs_larq
def test_a_worker_that_hangs_is_ended(path):
    session = TFLiteSession(path, threads=1)
    session.worker.timeout = 0.2
    pid = session.worker.process.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(InputError, match=r'did not answer within 0\.2 s'):
        session(np.zeros(SHAPE, np.float32))
    assert ended(pid)


@needs_larq
def test_a_closed_session_is_told(path):
    session = TFLiteSession(path, threads=1)
    session.close()
    session.close()
    with pytest.raises(InputError, match='is closed'):
        session(np.zeros(SHAPE, np.float32))


@needs_larq
def test_the_worker_ends_with_its_session(path):
    with TFLiteSession(path, threads=1) as session:
        pid = session.worker.process.pid
    assert ended(pid)
    session = TFLiteSession(path, threads=1)
    pid = session.worker.process.pid
    del session
    gc.collect()
    assert ended(pid)


@needs_larq
def test_the_worker_ends_when_the_one_who_asks_is_gone(path):
    session = TFLiteSession(path, threads=1)
    session.worker.connection.close()
    assert session.worker.process.wait(5) == 0


@needs_larq
def test_many_megabytes_pass_through_the_pipes(tmp_path):
    shape = (1, 3, 1024, 1024)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    with TFLiteSession(export_tflite(nn.ReLU(), tmp_path / 'net.tflite', shape), threads=1) as session:
        assert np.array_equal(session(x)[0], np.maximum(x, 0))
