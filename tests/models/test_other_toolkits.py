"""Toolkits that quantize every nn.Conv2d: they leave 1-bit convolutions as they are, or are refused in a sentence."""

import pytest
import timm
import torch
from torch import nn

import bireal_plugin
from bireal_plugin import BinaryConv2d, InputError
from bireal_plugin.binary import binary_convolutions, set_activation, set_weights

NAMES = 'leave out the layers that bireal_plugin.binary.binary_convolutions'


def network():
    torch.manual_seed(0)
    return timm.create_model('bireal_resnet18', base_channels=8, num_stages=2, out_indices=(1,), num_classes=10).eval()


def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def kept(model):
    """Names of 1-bit convolutions, and that each computes by the signs of its weight."""
    convs = dict(binary_convolutions(model))
    assert all(conv.binary_input and conv.binary_weight for conv in convs.values())
    return list(convs)


class Int8Conv2d(nn.Conv2d):
    """Stands for the convolution of a toolkit."""


class Wrapper(nn.Module):
    """Stands for what wraps a layer: sharded, recomputed or adapted."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer


@pytest.mark.parametrize('binary', [True, False])
def test_no_other_convolution_takes_the_place_of_a_1_bit_one(binary):
    model = network()
    if not binary:  # its activation would be lost
        set_activation(model, 'clip')
        set_weights(model, 'real')
    before = model.layer1[0].conv1
    with pytest.raises(InputError, match=rf'layer1\.0\.conv1 is a 1-bit convolution, and Int8Conv2d would.*{NAMES}'):
        model.set_submodule('layer1.0.conv1', Int8Conv2d(8, 8, 3, padding=1))
    assert model.layer1[0].conv1 is before


def test_a_wrapper_another_1_bit_convolution_and_a_callers_own_plain_one_take_it():
    block = network().layer1[0]
    for new in (Wrapper(block.conv1), block.conv1, BinaryConv2d(8, 8, 3), nn.Conv2d(8, 8, 3)):
        block.conv1 = new
        assert block.conv1 is new


def test_torchaos_int8_of_linear_layers_leaves_signs():
    quantization = pytest.importorskip('torchao.quantization')
    model = network()
    want, names = model(images()), kept(model)
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    assert kept(model) == names
    torch.testing.assert_close(model(images()), want, rtol=0.05, atol=0.05)
    assert type(model.fc.weight) is not nn.Parameter


def test_torchaos_int8_of_convolutions_is_refused():
    quantization = pytest.importorskip('torchao.quantization')
    if not hasattr(quantization, 'Int8Tensor'):
        pytest.skip('this torchao refuses all convolutions itself')
    model, config = network(), quantization.Int8WeightOnlyConfig()
    with pytest.raises(InputError, match=rf'signs of its weight, which a Int8Tensor is not for: {NAMES}'):
        quantization.quantize_(model, config, filter_fn=lambda module, name: isinstance(module, nn.Conv2d))


def test_quanto_is_refused_and_told_what_to_exclude():
    quanto = pytest.importorskip('optimum.quanto')
    with pytest.raises(InputError, match=rf'layer1\.0\.conv1 is a 1-bit convolution, and QConv2d would.*{NAMES}'):
        quanto.quantize(network(), weights=quanto.qint8)
    model = network()
    names = kept(model)
    quanto.quantize(model, weights=quanto.qint8, exclude=names)
    assert kept(model) == names
    assert type(model.conv1).__name__ == 'QConv2d'


def test_brevitas_layerwise_leaves_1_bit_convolutions():
    quantize = pytest.importorskip('brevitas.graph.quantize')
    model = network()
    names = kept(model)
    quantized = quantize.layerwise_quantize(model)
    assert kept(quantized) == names
    assert type(quantized.conv1).__name__ == 'QuantConv2d'


def test_brevitas_finds_1_bit_convolutions_whole_in_its_traced_graph():
    quantize = pytest.importorskip('brevitas.graph.quantize')
    model = network()
    want = model(images())
    graph = quantize.preprocess_for_quantize(model, equalize_iters=0)
    assert kept(graph) == kept(model)
    torch.testing.assert_close(graph(images()), want, rtol=1e-4, atol=1e-4)


def test_a_folded_network_has_no_real_convolution_in_the_place_of_a_1_bit_one():
    quanto = pytest.importorskip('optimum.quanto')
    folded = bireal_plugin.fold(network(), (1, 3, 32, 32))
    want = folded(images())
    quanto.quantize(folded, weights=quanto.qint8)
    assert (folded(images()) - want).abs().max() < 0.5 * want.abs().max()
