import subprocess
import sys

import pytest

BLOCKED = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
{statement}
"""


def run(blocked, statement):
    code = BLOCKED.format(blocked=blocked, statement=statement)
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_import_needs_neither_mmcv_nor_mmdet_nor_torchao():
    statement = "import bireal_plugin; from mmengine.registry import MODELS; print(MODELS.get('BiRealResNet').__name__)"
    result = run(['mmcv', 'mmdet', 'torchao', 'openvino', 'matplotlib'], statement)
    assert (result.returncode, result.stdout.strip()) == (0, 'BiRealResNet'), result.stderr


@pytest.mark.slow
def test_the_mathematics_needs_torch_alone():
    """The files of binary/ import torch, errors and the name tables; mmengine and timm enter further up."""
    statement = (
        'import types, pathlib, importlib.util\n'
        "spec = importlib.util.find_spec('bireal_plugin')\n"
        "package = types.ModuleType('bireal_plugin'); package.__path__ = spec.submodule_search_locations\n"
        "sys.modules['bireal_plugin'] = package\n"
        "import bireal_plugin.binary; print('ok')"
    )
    result = run(['mmengine', 'timm', 'torchvision', 'mmcv', 'numpy.testing'], statement)
    assert (result.returncode, result.stdout.strip()) == (0, 'ok'), result.stderr
