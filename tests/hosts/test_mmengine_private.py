"""What is asked of mmengine's private interface. A failure here means: mend bireal_plugin/hosts/mmengine_private.py."""

import inspect

import torch
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner import Runner

from bireal_plugin.hosts.mmengine_private import mark_loaded, note_initialisation

MEND = 'this mmengine lacks it or does something else; mend bireal_plugin/hosts/mmengine_private.py'


def test_a_runner_marked_as_loaded_loads_no_more():
    runner = Runner.__new__(Runner)
    mark_loaded(runner)
    runner.load_or_resume()  # would read attributes that this Runner has not
    assert '_has_loaded' in inspect.getsource(Runner.load_or_resume), MEND


def test_an_initialisation_is_noted_by_its_words():
    module = BaseModule()
    module.weight = torch.nn.Parameter(torch.zeros(2))
    module._params_init_info = {module.weight: dict(init_info='drawn', tmp_mean_value=torch.tensor(1.0))}
    note_initialisation(module, PretrainedInit('start.pth'))
    assert 'start.pth' in module._params_init_info[module.weight]['init_info'], MEND


def test_a_module_that_keeps_no_record_is_left_alone():
    note_initialisation(torch.nn.Linear(1, 1), PretrainedInit('start.pth'))
