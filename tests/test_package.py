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


@pytest.fixture(scope='module')
def with_torch_alone():
    """Whether a convolution has learned, and the sentence of every name that needs more."""
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

        import bireal_plugin
        for name in bireal_plugin.__all__:
            try:
                getattr(bireal_plugin, name)
            except ImportError as error:
                print(error)
    """
    learned, *sentences = run(program, without=CORE).splitlines()
    return learned, sentences


@pytest.mark.slow
def test_the_mathematics_trains_with_torch_alone(with_torch_alone):
    assert with_torch_alone[0] == 'True'


@pytest.mark.slow
def test_without_mmengine_every_other_name_says_what_it_needs(with_torch_alone):
    needy = sorted(NAMES - {'BinaryConv2d', 'InputError', '__version__'})
    sentence = 'bireal_plugin.{} needs mmengine, which is not installed; pip install bireal-plugin'
    assert sorted(with_torch_alone[1]) == [sentence.format(name) for name in needy]


def imported():
    """Time of the import by that of what it builds on; whether names stay what they are below it; other frameworks."""
    program = """
        import sys
        from time import perf_counter
        start = perf_counter()
        import torch, mmengine, timm
        hosts = perf_counter()
        import bireal_plugin
        print((perf_counter() - start) / (hosts - start))

        from bireal_plugin.export import Session, export
        from bireal_plugin.export.packed.file import load_packed
        print([Session is bireal_plugin.Session, bireal_plugin.export is export, load_packed is bireal_plugin.load])
        print({'torchao', 'mmcv', 'mmdet'} & sys.modules.keys())
    """
    share, *others = run(program).splitlines()
    return float(share), others


@pytest.fixture(scope='module')
def first_import():
    return imported()


@pytest.mark.slow
def test_export_is_a_function_and_its_package_is_still_found_and_no_other_framework_is_imported(first_import):
    assert first_import[1] == ['[True, True, True]', 'set()']


@pytest.mark.slow
def test_import_takes_at_most_half_again_as_long_as_what_it_builds_on(first_import):
    assert first_import[0] <= 1.5 or any(imported()[0] <= 1.5 for _ in range(2))  # other processes may disturb one
