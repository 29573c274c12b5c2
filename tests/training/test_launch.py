"""Starting one of several processes on a machine without GPU."""

import os

import pytest
import torch
from mmengine.config import Config

from bireal_plugin.training.launch import ENVIRONMENT, prepare_launch


@pytest.fixture
def started(monkeypatch):
    """The backends of the process groups that were asked for; none is really started."""
    backends = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'init_process_group', backends.append)
    monkeypatch.setattr(os, 'environ', os.environ.copy())
    return backends


@pytest.mark.parametrize('launcher', list(ENVIRONMENT))
def test_ranks_come_from_the_launchers_variables(started, launcher):
    values = dict(RANK='3', WORLD_SIZE='4', LOCAL_RANK='1')
    os.environ.update({source: values[name] for name, source in ENVIRONMENT[launcher].items()})
    prepare_launch(Config(), launcher)
    assert started == ['gloo']
    assert {name: os.environ[name] for name in values} == values


def test_one_process_starts_no_group(started):
    prepare_launch(Config(), 'none')
    assert started == []


@pytest.mark.parametrize(
    ('config', 'unused'),
    [({}, False), (dict(find_unused_parameters=True), True), (dict(model_wrapper_cfg=dict(static_graph=True)), False)],
)
def test_wrapper_keeps_what_the_config_says(started, config, unused):
    os.environ.update(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0')
    config = Config(config)
    asked = config.get('model_wrapper_cfg', {})
    prepare_launch(config, 'pytorch')
    expected = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False, **asked)
    assert config.model_wrapper_cfg == {**expected, 'find_unused_parameters': unused}
