"""Transitions of other code bases' ResNets: whatever the child is called, and with or without a convolution in it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bireal_plugin import InputError, binarize, fold


class Fixed(nn.Module):
    """A function as a module, as CIFAR ResNets write their option A."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Block(nn.Module):
    """A basic block whose shortcut stands in a child of any name."""

    def __init__(self, before, after, stride, shortcut, name='shortcut'):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu, self.around = nn.ReLU(), name
        self.add_module(name, shortcut)

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + getattr(self, self.around)(x))


def option_a(x):
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))


def convolution():
    return nn.Conv2d(8, 16, 1, 2, bias=False)


def network(first, second, name='shortcut'):
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    model = nn.Sequential(*stem, Block(8, 8, 1, first, name), Block(8, 16, 2, second, name)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # no sum of signs is then near a threshold
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
    return model


def converted(*shortcuts, **options):
    model = network(*shortcuts, **options)
    binarize(model, shape=(3, 32, 32))
    return model


def binary(conv, x):
    scale = conv.weight.abs().mean((1, 2, 3), keepdim=True)
    signs, kernel = (torch.where(v < 0, -1.0, 1.0) for v in (x, conv.weight))
    return F.conv2d(signs, scale * kernel, stride=conv.stride, padding=1)


def expected(block, x, around):
    y = block.bn1(binary(block.conv1, x)) + around
    return block.bn2(binary(block.conv2, y)) + y


def bare(*layers):
    return layers[0]


KNOWN = [(name, wrap) for name in ('shortcut', 'downsample', 'skip') for wrap in (nn.Sequential, bare)]


@pytest.mark.parametrize(('name', 'wrap'), [*KNOWN, ('match_dimensions', nn.Sequential)])
def test_a_transition_by_a_convolution(name, wrap):
    model = converted(nn.Sequential(), wrap(convolution(), nn.BatchNorm2d(16)), name=name)
    x = torch.randn(2, 8, 16, 16)
    layers = model[4].get_submodule(name)
    conv = layers[0] if wrap is nn.Sequential else layers
    around = F.conv2d(F.avg_pool2d(x, 2), conv.weight)
    around = layers[1](around) if wrap is nn.Sequential else around
    torch.testing.assert_close(model[4](x), expected(model[4], x, around))
    assert name in dict(model[4].named_children())


@pytest.mark.parametrize('empty', [nn.Sequential, nn.Identity])
@pytest.mark.parametrize('name', ['shortcut', 'match_dimensions'])
def test_an_empty_shortcut_is_the_identity(empty, name):
    model = converted(empty(), nn.Sequential(convolution()), name=name)
    x = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(model[3](x), expected(model[3], x, x))


@pytest.mark.parametrize('wrap', [Fixed, lambda f: nn.Sequential(Fixed(f))], ids=['bare', 'sequential'])
def test_option_a_stays_the_fixed_linear_map_that_it_is(wrap):
    model = converted(nn.Sequential(), wrap(option_a))
    x = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(model[4](x), expected(model[4], x, option_a(x)))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(fold(model, images.shape)(images), model(images), rtol=1e-4, atol=1e-4)
    model.train()(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ('shortcut', 'sentence'),
    [
        (Fixed(lambda x: option_a(x).relu()), r"'4\.shortcut' \(Fixed\) is not linear.*l2d\(2\), nn\.Conv2d\(8, 16"),
        (Fixed(lambda x: option_a(x)[:, :1]), r'4\.shortcut gives \(1, 1, 16, 16\)'),
        (nn.Sequential(convolution(), nn.ReLU()), r'4\.shortcut\.1 is ReLU; a stage transition is'),
        (nn.Conv2d(8, 16, 3, 2, 1), r'4\.shortcut is Conv2d\(8, 16, kernel_size=\(3, 3\)'),
        (nn.Sequential(), r"'4' changes its shape, but has no downsample; if forward\(\) computes"),
    ],
)
def test_what_is_no_shortcut_is_named_with_the_way_out(shortcut, sentence):
    model = network(nn.Sequential(), shortcut)
    if shortcut.state_dict() == {} and not list(shortcut.children()) and isinstance(shortcut, nn.Sequential):
        model[4].forward = lambda x: model[4].bn2(model[4].conv2(model[4].bn1(model[4].conv1(x)))) + option_a(x)
    before = dict(model.named_modules())
    with pytest.raises(InputError, match=sentence):
        binarize(model, shape=(3, 32, 32))
    assert dict(model.named_modules()) == before


@pytest.mark.parametrize('name', ['run', 'branches'])
def test_a_name_that_a_bi_real_block_uses_itself_is_refused(name):
    with pytest.raises(InputError, match=rf'3\.{name}: a Bi-Real block has something else of that name; rename it'):
        converted(nn.Sequential(nn.Conv2d(8, 8, 1)), nn.Sequential(convolution()), name=name)
