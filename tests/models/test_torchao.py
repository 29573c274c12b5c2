import pytest
import timm
import torch
from torch import nn

from bireal_plugin import BiRealConfig, InputError, binarize
from bireal_plugin.binary import binary_convolutions, set_weights
from tests.models.hosts import tiny_bottleneck

pytest.importorskip('torchao')

from torchao.quantization import quantize_

from bireal_plugin.torchao import BiRealConvertConfig, is_resnet


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


def test_prepare_train_convert_ends_in_packed_weights():
    torch.manual_seed(0)
    model = Detector()
    quantize_(model, BiRealConfig(), filter_fn=is_resnet)
    optimizer, x = torch.optim.SGD(model.parameters(), lr=0.1), torch.randn(4, 3, 34, 34)
    before = [conv.weight.clone() for _, conv in binary_convolutions(model)]
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    assert not any(torch.equal(a, conv.weight) for a, (_, conv) in zip(before, binary_convolutions(model), strict=True))
    want = model.eval()(x)
    quantize_(model, BiRealConvertConfig((1, 3, 32, 32)), filter_fn=is_resnet)
    torch.testing.assert_close(model(x), want, rtol=1e-4, atol=1e-4)
    packed = [value for name, value in model.state_dict().items() if name.endswith('packed_weight')]
    assert (len(packed), next(binary_convolutions(model), None)) == (len(before), None)
    assert {value.dtype for value in packed} == {torch.uint8}
    assert type(model.neck) is nn.Conv2d


def test_prepare_of_a_bi_real_network_and_convert_of_a_real_stage_are_refused():
    model = timm.create_model('bireal_resnet18', base_channels=8)
    with pytest.raises(InputError, match='is a BinaryConv2d already'):
        quantize_(model, BiRealConfig(), filter_fn=is_resnet)
    set_weights(model, 'real')
    with pytest.raises(InputError, match=r'layer1\.0\.conv1 is not binary yet'):
        quantize_(model, BiRealConvertConfig(), filter_fn=is_resnet)


@pytest.mark.parametrize('config', [BiRealConfig(), BiRealConvertConfig()])
@pytest.mark.parametrize(
    'filter_fn', [None, lambda module, name: isinstance(module, nn.Conv2d), lambda module, name: name.endswith('fc')]
)
def test_a_layer_alone_is_refused_before_anything_changes(filter_fn, config):
    model = tiny_bottleneck()
    modules = dict(model.named_modules())
    with pytest.raises(InputError, match=r'alone does not become 1-bit.*filter_fn=bireal_plugin\.torchao\.is_resnet'):
        quantize_(model, config, filter_fn=filter_fn)
    assert dict(model.named_modules()) == modules
