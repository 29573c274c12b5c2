"""Signals after OpenVINO, in a process of their own that they may end."""

import pytest

from tests.warm import Python

pytest.importorskip('openvino')

TWO_SESSIONS = """
import os, signal
import numpy as np
import openvino
from openvino import opset13 as ops
from bireal_plugin.export.openvino.engine import OpenVINOSession

def session():
    x = ops.parameter([1, 8, 1, 1], np.float32)
    made = OpenVINOSession(openvino.Model([ops.relu(x)], [x], 'relu'))
    made(np.ones((1, 8, 1, 1), np.float32))
    return made

first, second = session(), session()
del first
del second
signal.signal(signal.SIGCHLD, lambda *_: print('handled'))  # as torch's DataLoader does
os.kill(os.getpid(), signal.SIGCHLD)
"""


def test_a_signal_is_handled_after_two_sessions_that_ended_in_the_order_of_their_beginning():
    """With a core for each, the signal's handler would run on unmapped memory."""
    ended = Python(['-c', TWO_SESSIONS]).ended()
    assert (ended.status, ended.out) == (0, 'handled\n'), ended.err
