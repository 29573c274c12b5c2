"""The package as a whole: what its import gives, needs and costs."""

import subprocess
import sys
import textwrap

import pytest

import bireal_plugin

CORE = ('mmengine', 'timm', 'torchvision', 'numpy', 'cv2', 'PIL', 'safetensors', 'tabulate', 'tqdm', 'av')
NAMES = {
    *('BinaryConv2d', 'BiRealResNet', 'BiRealClassifier', 'BiRealConfig', 'InputError', 'Session', '__version__'),
    *('absorb_scales', 'binarize', 'export', 'fold', 'inspect', 'load', 'load_trained', 'model_cost', 'push_to_hub'),
}


def run(program, *, without=()):
    """What ``program`` prints in a process in which the modules ``without`` cannot be imported."""
    code = f'import sys\nsys.modules.update(dict.fromkeys({without!r}))\n{textwrap.dedent(program)}'
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_names_are_those_of_a_user():
    assert set(bireal_plugin.__all__) == NAMES
    assert all(hasattr(bireal_plugin, name) for name in NAMES)


@pytest.mark.slow
def test_configs_are_read_and_built_without_any_optional_package():
    program = """
        from mmengine.registry import MODELS
        import bireal_plugin
        from bireal_plugin.training.config import load_config
        conv = MODELS.build(dict(type='BinaryConv2d', in_channels=2, out_channels=2, kernel_size=3, sign='STE'))
        print(type(MODELS.build(load_config('bireal_r18_digits').model)).__name__, conv.surrogate)
    """
    expected = 'BiRealClassifier STE()'
    openmmlab = ('mmcv', 'mmdet', 'pkg_resources', 'setuptools')  # the latter two for configs of mmdet alone
    engines = ('openvino', 'nncf', 'onnx', 'onnxscript', 'onnxruntime', 'qonnx', 'flatbuffers', 'tflite')
    others = ('sklearn', 'torchao', 'matplotlib', 'tensorboard')
    assert run(program, without=(*openmmlab, *engines, *others)) == expected


@pytest.mark.slow
def test_the_mathematics_trains_with_torch_alone():
    program = """
        import torch
        from bireal_plugin.binary import BinaryConv2d
        conv = BinaryConv2d(2, 2, 3)
        before = conv.weight.detach().clone()
        optimizer = torch.optim.SGD(conv.parameters(), lr=1)
        conv(torch.randn(1, 2, 5, 5)).sum().backward()
        optimizer.step()
        assert torch.equal(before - conv.weight.grad, conv.weight)
        print(bool(conv.weight.grad.any()))
    """
    assert run(program, without=CORE) == 'True'


@pytest.mark.slow
def test_without_mmengine_every_other_name_says_what_it_needs():
    program = """
        import bireal_plugin
        for name in bireal_plugin.__all__:
            try:
                getattr(bireal_plugin, name)
            except ImportError as error:
                print(error)
    """
    needy = sorted(NAMES - {'BinaryConv2d', 'InputError', '__version__'})
    sentence = 'bireal_plugin.{} needs mmengine, which is not installed; pip install bireal-plugin'
    assert sorted(run(program, without=CORE).splitlines()) == [sentence.format(name) for name in needy]


@pytest.mark.slow
def test_export_is_a_function_and_its_package_is_still_found_and_no_other_framework_is_imported():
    program = """
        import sys
        import bireal_plugin
        from bireal_plugin.export import Session, export
        from bireal_plugin.export.packed.file import load_packed
        print([Session is bireal_plugin.Session, bireal_plugin.export is export, load_packed is bireal_plugin.load])
        print({'torchao', 'mmcv', 'mmdet'} & sys.modules.keys())
    """
    assert run(program) == '[True, True, True]\nset()'


@pytest.mark.slow
def test_import_takes_at_most_half_again_as_long_as_what_it_builds_on():
    program = """
        from time import perf_counter
        start = perf_counter()
        import torch, mmengine, timm
        hosts = perf_counter()
        import bireal_plugin
        print((perf_counter() - start) / (hosts - start))
    """
    assert any(float(run(program)) <= 1.5 for _ in range(3))  # other processes may disturb one
