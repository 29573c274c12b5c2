from functools import partial

import pytest
import timm
import torch
from torch import nn

from bireal_plugin import BiRealConfig, InputError, binarize
from tests.models.hosts import MiniBlock, MiniResNet, tiny_basic, tiny_bottleneck

SHAPE = (3, 64, 64)


class FunctionalStem(MiniResNet):
    """Its stem's ReLU is no module."""

    def __init__(self):
        super().__init__(stem_activation=False)


class PreActivation(MiniBlock):
    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        x = self.conv1(self.relu(x))
        x = self.conv2(self.relu(self.norm1(x)))
        return self.conv3(self.relu(self.norm2(x))) + identity + 0 * self.norm3(identity)


class OwnForward(nn.Conv2d):
    def forward(self, x):
        return super().forward(x.abs())


class Between(MiniResNet):
    """Something between the stages."""

    def forward(self, x):
        first = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return first, self.layer2(first * 2)


class Unordered(MiniResNet):
    """The second stage's blocks are called twice."""

    def forward(self, x):
        first, second = super().forward(x)
        return first, self.layer2[1](second)


def on_meta(name):
    with torch.device('meta'):
        return timm.create_model(name)


def changed(make, **modules):
    model = make()
    for name, module in modules.items():
        parent, _, child = name.replace('__', '.').rpartition('.')
        setattr(model.get_submodule(parent), child, module)
    return model


REFUSED = {
    'no ResNet': (partial(on_meta, 'vgg11'), 'VGG holds no ResNet blocks'),
    'a block alone': (lambda: tiny_basic().layer1[0], 'BasicBlock holds no ResNet blocks'),
    'no stem': (lambda: tiny_basic().layer2, r"Sequential has no stem in front of its first block '0'"),
    'Bi-Real already': (partial(on_meta, 'bireal_resnet18'), r"'layer1\.0\.conv1' is a BinaryConv2d already"),
    'Res2Net': (partial(on_meta, 'res2net50_26w_4s'), r"'layer1\.0' has no conv2"),
    'selective kernels': (partial(on_meta, 'skresnet18'), r"'layer1\.0\.conv1' is a SelectiveKernel"),
    'ResNeSt': (partial(on_meta, 'resnest14d'), r"'layer1\.0\.conv2' is a SplitAttn"),
    'anti-aliased': (partial(on_meta, 'resnetaa50'), r"'layer2\.0\.aa' \(AvgPool2d\) lowers the resolution"),
    'a narrower 3x3': (partial(on_meta, 'senet154'), r'layer1\.0\.conv2 turns 128 channels into 256'),
    'own forward': (
        lambda: changed(MiniResNet, layer1__1__conv2=OwnForward(8, 8, 3, padding=1)),
        r"'layer1\.1\.conv2' is a OwnForward, not a plain Conv2d",
    ),
    'padding mode': (
        lambda: changed(MiniResNet, layer1__1__conv2=nn.Conv2d(8, 8, 3, padding=1, padding_mode='reflect')),
        r"'layer1\.1\.conv2' has padding_mode='reflect'",
    ),
    'no padding': (
        lambda: changed(
            MiniResNet,
            layer2__1__conv2=nn.Conv2d(16, 16, 3, padding=2),
            layer2__1__conv3=nn.Conv2d(16, 64, 3, padding=0),
        ),
        r"'layer2\.1\.conv2' turns \(8, 8\) pixels into \(10, 10\)",
    ),
    'no normalisation': (
        lambda: changed(MiniResNet, layer1__0__bn3=nn.Identity()),
        r"'layer1\.0' has no normalisation bn3",
    ),
    'a learned activation': (
        lambda: changed(MiniResNet, layer1__0__relu=nn.PReLU()),
        r"'layer1\.0\.relu' is a PReLU with parameters",
    ),
    'a plugin': (
        lambda: changed(MiniResNet, layer1__0__context_block=nn.Conv2d(8, 8, 1)),
        r"'layer1\.0\.context_block' \(Conv2d\) is not part of a ResNet block",
    ),
    'a 3x3 shortcut': (
        lambda: changed(MiniResNet, layer2__0__downsample=nn.Sequential(nn.Conv2d(32, 64, 3, 2, 1))),
        r'layer2\.0\.downsample\.0 is Conv2d\(32, 64, kernel_size=\(3, 3\)',
    ),
    'uneven stride': (
        lambda: changed(
            MiniResNet,
            layer2__0__conv2=nn.Conv2d(16, 16, 3, (1, 2), 1),
            layer2__0__downsample=nn.Sequential(nn.Conv2d(32, 64, 1, (1, 2))),
        ),
        r"'layer2\.0\.downsample\.0' has stride \(1, 2\)",
    ),
    'pre-activation': (partial(MiniResNet, block=PreActivation), 'is not given'),
    'a functional stem': (FunctionalStem, r"'layer1\.0' is given is computed outside of modules, perhaps by F.relu"),
    'an unknown stem': (
        lambda: changed(MiniResNet, relu=type('Squared', (nn.Module,), {'forward': lambda self, x: x * x})()),
        'Squared.* stands between the stem and the first block',
    ),
    'between the stages': (Between, r"'layer2\.0' is not given what 'layer1\.1' returns"),
    'called twice': (Unordered, r"'layer2\.1' is called 2 times"),
    'inside a model': (
        lambda: nn.ModuleDict(dict(neck=nn.Linear(2, 2), backbone=Between())),
        r"backbone: 'layer2\.0' is not given",
    ),
}


def outputs(model):
    torch.manual_seed(0)
    image = torch.randn(1, *SHAPE)
    # timm's are on the meta device, parts of a network take other inputs.
    return list(model.eval()(image)) if isinstance(model, MiniResNet) else []


@pytest.mark.parametrize('case', REFUSED)
def test_what_cannot_be_converted_is_named_and_left_as_it_was(case):
    make, sentence = REFUSED[case]
    torch.manual_seed(0)
    model = make()
    before = outputs(model)
    model.train()
    modules, tensors = dict(model.named_modules()), model.state_dict(keep_vars=True)
    values = {key: value.detach().clone() for key, value in tensors.items()}
    with pytest.raises(InputError, match=sentence):
        binarize(model, shape=SHAPE)
    assert dict(model.named_modules()) == modules
    assert all(module.training for module in modules.values())
    assert all(value is tensors[key] for key, value in model.state_dict(keep_vars=True).items())
    assert all(value.is_meta or torch.equal(value, tensors[key]) for key, value in values.items())
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model), strict=True))


def test_a_converted_model_is_not_converted_again():
    model = tiny_bottleneck()
    binarize(model, shape=SHAPE)
    with pytest.raises(InputError, match=r"'layer1\.0\.conv2' is a BinaryConv2d already"):
        binarize(model, shape=SHAPE)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (dict(weights='half'), "weights='half' is not one of 'real', 'step1', 'binary'"),
        (dict(structure='dense'), "structure='dense' is not one of 'bireal', 'resnet', 'plain'"),
        (dict(activation='gelu'), "not 'gelu'"),
        (dict(conv='Conv2d'), "unknown binary convolution 'Conv2d'"),
        (dict(conv=dict(type='BinaryConv2d', bases=2)), 'BinaryConv2d does not take'),
        (dict(sign='Tanh'), "unknown sign surrogate 'Tanh'"),
        (dict(conv='ABCConv2d', weight='Sign'), 'keeps its weight bases'),
    ],
)
def test_a_config_says_what_it_does_not_know(options, sentence):
    with pytest.raises(InputError, match=sentence):
        BiRealConfig(**options)


def test_binarize_lists_its_options():
    with pytest.raises(InputError, match=r'does not take act; BiRealConfig has: sign, weight, activation'):
        binarize(tiny_basic(), act='clip')
