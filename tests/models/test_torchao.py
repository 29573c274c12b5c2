import subprocess
import sys

import pytest
import torch
from torch import nn

from bireal_plugin import BiRealConfig, InputError, binarize
from bireal_plugin.binary import binary_convolutions
from tests.models.hosts import tiny_bottleneck

pytest.importorskip('torchao')

from torchao.quantization import quantize_

from bireal_plugin.torchao import is_resnet


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.neck = tiny_bottleneck(), nn.Conv2d(3, 3, 3)

    def forward(self, x):
        return self.backbone(self.neck(x))


def test_quantize_converts_as_binarize_does():
    models = []
    for convert in (
        lambda model: binarize(model, BiRealConfig(weights='step1')),
        lambda model: quantize_(model, BiRealConfig(weights='step1'), filter_fn=is_resnet),
    ):
        torch.manual_seed(0)
        model = tiny_bottleneck()
        convert(model)
        models.append(model.eval())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(models[0](x), models[1](x))
    assert [repr(conv) for _, conv in binary_convolutions(models[0])] == [
        repr(conv) for _, conv in binary_convolutions(models[1])
    ]


@pytest.mark.parametrize('filter_fn', [is_resnet, lambda module, name: name == 'backbone'])
def test_the_filter_picks_the_resnet_inside_a_model(filter_fn):
    model = Detector()
    quantize_(model, BiRealConfig(), filter_fn=filter_fn)
    names = [name for name, _ in binary_convolutions(model)]
    assert names
    assert all(name.startswith('backbone.layer') for name in names)


@pytest.mark.parametrize(
    'filter_fn', [None, lambda module, name: isinstance(module, nn.Conv2d), lambda module, name: name.endswith('fc')]
)
def test_a_layer_alone_is_refused_before_anything_changes(filter_fn):
    model = tiny_bottleneck()
    modules = dict(model.named_modules())
    with pytest.raises(InputError, match=r'alone does not become 1-bit.*filter_fn=bireal_plugin\.torchao\.is_resnet'):
        quantize_(model, BiRealConfig(), filter_fn=filter_fn)
    assert dict(model.named_modules()) == modules


def test_the_package_itself_does_not_import_torchao():
    code = 'import sys, bireal_plugin; sys.exit(bool({"torchao", "mmcv", "mmdet"} & sys.modules.keys()))'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
