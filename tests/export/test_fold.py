import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.fold import FoldedBinaryConv2d, fold, fold_
from bireal_plugin.models import BiRealClassifier, BiRealResNet


def trained(model, seed=0):
    """Statistics and affine parameters as training leaves them, with negative and zero gamma among them."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            nn.init.normal_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0, 0.5)
            module.weight.data[0] = 0.0
    return model.eval()


@pytest.mark.parametrize('per', ['channel', 'layer'])
@pytest.mark.parametrize('bias', [False, True])
def test_one_layer_is_batch_norm_of_the_scaled_convolution(per, bias):
    conv = BinaryConv2d(12, 8, 3, stride=2, padding=1, bias=bias, weight=dict(type='MagnitudeAware', per=per))
    net = trained(nn.Sequential(conv, nn.BatchNorm2d(8)).double())
    x = torch.randn(2, 12, 9, 9, dtype=torch.float64)
    folded = fold(net)
    assert isinstance(folded[0], FoldedBinaryConv2d)
    assert isinstance(folded[1], nn.Identity)
    torch.testing.assert_close(folded(x), net(x), rtol=1e-6, atol=1e-6)


def test_a_convolution_without_batch_norm_keeps_its_scale_and_bias():
    conv = BinaryConv2d(12, 8, 3).double()
    x = torch.randn(2, 12, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(fold(nn.Sequential(conv, nn.ReLU()))(x), conv(x).relu(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('structure', ['bireal', 'resnet', 'plain'])
def test_every_layer_of_a_network_folds_to_the_same_function(depth, structure):
    """Layer by layer on the unfolded network's own activations, since one flipped sign would cascade."""
    net = trained(BiRealResNet(depth, base_channels=8, structure=structure)).double()
    folded = dict(fold(net).named_modules())
    seen = {}
    modules = dict(net.named_modules())
    for name, module in modules.items():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: (i[0], o)}))
    net(torch.randn(1, 3, 64, 64, dtype=torch.float64))
    pairs = [(name, name.replace('conv', 'bn')) for name in seen if '.conv' in name] + [('conv1', 'bn1')]
    assert len(pairs) == {18: 17, 50: 49}[depth]
    for conv, norm in pairs:
        got = folded[conv](seen[conv][0])
        torch.testing.assert_close(got, seen[norm][1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('options', [{}, dict(rsign=True, rprelu=True), dict(weight='Sign')])
@pytest.mark.parametrize('depth', [18, 50])
def test_a_classifier_predicts_the_same(depth, options):
    model = trained(BiRealClassifier(BiRealResNet(depth, base_channels=8, out_indices=(3,), **options), 10)).double()
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fold(model)(x), model(x), rtol=1e-3, atol=1e-3)


def test_the_binary_operator_is_all_that_is_binary():
    folded = fold(BiRealResNet(18, base_channels=8).eval())
    assert not any(isinstance(m, (BinaryConv2d, nn.BatchNorm2d)) for m in folded.modules())
    assert sum(isinstance(m, FoldedBinaryConv2d) for m in folded.modules()) == 16


def test_the_model_itself_is_unchanged():
    net = BiRealResNet(18, base_channels=8)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fold(net)
    assert before.keys() == net.state_dict().keys()
    assert net.training


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(weights='real'), 'layer1.0.conv1 is not binary yet'),
        (dict(activation='clip'), 'layer1.0.conv1 is not binary yet'),
        (dict(conv='XNORConv2d'), 'depends on the input'),
        (dict(conv='ABCConv2d'), 'layer1.0.conv1 has no folded form'),
    ],
)
def test_what_cannot_be_folded_is_told_and_untouched(options, sentence):
    net = BiRealResNet(18, base_channels=8, **options)
    with pytest.raises(InputError, match=sentence):
        fold_(net)
    assert sum(isinstance(m, BinaryConv2d) for m in net.modules()) == 16
