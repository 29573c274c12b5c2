"""Untrained ResNets of the libraries whose models ``binarize`` converts, narrow where the library lets them be.

``MiniResNet`` stands for mmpretrain's, with its names and its forward, and ``CifarResNet`` for the CIFAR networks of
GitHub.
"""

from functools import partial

import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import ResNet as TorchvisionResNet

# Whether Dynamo traces a second stream, an attribute of a tensor; before torch 2.8 it parts the graph there.
SECOND_STREAM_TRACED = torch.__version__ >= (2, 8)
TORCHVISION = ['resnet18', 'resnet34', 'resnet50']
TIMM = [*TORCHVISION, 'resnext50_32x4d', 'wide_resnet50_2']
TIMM += ['seresnet18', 'seresnet50', 'ecaresnet50d', 'resnet50d', 'resnetrs50', 'resnet50_gn']


class MiniBlock(nn.Module):
    """mmpretrain's block: normalisations behind properties, ``drop_path``, two or three convolutions."""

    def __init__(self, inplanes, planes, *, stride, bottleneck, norm_name):
        super().__init__()
        widths = [(inplanes, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)]
        widths = widths if bottleneck else [(inplanes, planes, 3), (planes, planes, 3)]
        strides = [1, stride, 1] if bottleneck else [stride, 1]
        self.names = []
        for k, ((before, after, kernel), step) in enumerate(zip(widths, strides, strict=True), 1):
            self.add_module(f'conv{k}', nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False))
            norm = nn.GroupNorm(4, after) if norm_name == 'gn' else nn.BatchNorm2d(after)
            self.add_module(f'{norm_name}{k}', norm)
            self.names.append((f'conv{k}', f'{norm_name}{k}'))
        self.norm_name = norm_name
        self.relu = nn.ReLU(inplace=True)
        out = widths[-1][1]
        self.downsample = None
        if stride != 1 or inplanes != out:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.drop_path = nn.Identity()

    norm1 = property(lambda self: getattr(self, f'{self.norm_name}1'))
    norm2 = property(lambda self: getattr(self, f'{self.norm_name}2'))
    norm3 = property(lambda self: getattr(self, f'{self.norm_name}3'))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        for i, (conv, norm) in enumerate(self.names):
            x = getattr(self, norm)(getattr(self, conv)(x))
            x = self.relu(x) if i < len(self.names) - 1 else x
        return self.relu(self.drop_path(x) + identity)


class MiniResNet(nn.Module):
    """Two stages of two blocks; a tuple of feature maps, as OpenMMLab's backbones return."""

    def __init__(self, *, bottleneck=True, norm_name='bn', width=8, block=MiniBlock, stem_activation=True):
        super().__init__()
        block = partial(block, bottleneck=bottleneck, norm_name=norm_name)
        expansion = 4 if bottleneck else 1
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True) if stem_activation else None
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(block(width, width, stride=1), block(expansion * width, width, stride=1))
        self.layer2 = nn.Sequential(
            block(expansion * width, 2 * width, stride=2), block(2 * expansion * width, 2 * width, stride=1)
        )

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        x = x.relu() if self.relu is None else self.relu(x)
        first = self.layer1(self.maxpool(x))
        return first, self.layer2(first)


class CifarBlock(nn.Module):
    """A basic block as the CIFAR ResNets on GitHub write it, with functional activations but for chenyaofo's."""

    def __init__(self, before, after, stride, shortcut):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        changed = stride != 1 or before != after
        around = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        if shortcut == 'downsample':
            self.relu, self.downsample = nn.ReLU(inplace=True), around if changed else None
        elif shortcut == 'option A' and changed:
            self.shortcut = Lambda(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, after // 4, after // 4)))
        else:
            self.shortcut = around if changed else nn.Sequential()

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        around = getattr(self, 'shortcut', None) or getattr(self, 'downsample', None)
        return F.relu(y + (x if around is None else around(x)))


class Lambda(nn.Module):
    """A function of the caller's as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class CifarResNet(nn.Module):
    """ResNet-20, 32 or 56 with the names that weights of CIFAR-10 have in the wild.

    Args:
        shortcut: 'option A' (akamaster's), 'option B' (kuangliu's names) or 'downsample' (chenyaofo's).
        stem: what ``forward`` applies to the first norm's output: a module, or 'functional' for F.relu.
    """

    def __init__(self, depth=20, *, shortcut='option A', stem='module', classes=10):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        if stem == 'module':
            self.relu = nn.ReLU()
        before = 16
        for stage, channels in enumerate((16, 32, 64), 1):
            blocks = []
            for i in range((depth - 2) // 6):
                blocks.append(CifarBlock(before, channels, 2 if stage > 1 and i == 0 else 1, shortcut))
                before = channels
            self.add_module(f'layer{stage}', nn.Sequential(*blocks))
        self.head = 'fc' if shortcut == 'downsample' else 'linear'
        self.add_module(self.head, nn.Linear(64, classes))

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        x = self.relu(x) if hasattr(self, 'relu') else F.relu(x)
        x = self.layer3(self.layer2(self.layer1(x)))
        return getattr(self, self.head)(F.avg_pool2d(x, x.shape[3]).flatten(1))


def tiny_bottleneck():
    """torchvision's ResNet of bottlenecks, two blocks in the first two stages, narrow streams of 8 to 64 channels."""
    return TorchvisionResNet(torchvision.models.resnet.Bottleneck, [2, 2, 1, 1], num_classes=5, width_per_group=8)


def tiny_basic():
    """timm's ResNet of basic blocks, one per stage, 64 and then 16 channels."""
    channels = (64, 16, 16, 16)
    block = timm.models.resnet.BasicBlock
    return timm.models.resnet.ResNet(block, (1,) * 4, num_classes=5, channels=channels, zero_init_last=False)


def mmdet_resnet(depth, **options):
    """mmdet's backbone; import errors are the caller's."""
    from mmdet.models.backbones import ResNet

    return ResNet(depth, **{'base_channels': 16, **options})


HOSTS = {f'torchvision {name}': partial(getattr(torchvision.models, name)) for name in TORCHVISION}
# Of what resnext50_32x4d, wide_resnet50_2 and resnet101 are in torchvision, as small as it can be.
HOSTS |= {
    f'torchvision {name}': partial(TorchvisionResNet, torchvision.models.resnet.Bottleneck, blocks, **options)
    for name, blocks, options in (
        ('groups', [2, 1, 1, 1], dict(groups=32, width_per_group=4)),
        ('wide', [2, 1, 1, 1], dict(width_per_group=128)),
        ('deep', [1, 1, 9, 1], dict(width_per_group=8)),
    )
}
HOSTS |= {f'timm {name}': partial(timm.create_model, name, channels=(32, 64, 128, 256)) for name in TIMM}
HOSTS |= {
    'mmdet 18': partial(mmdet_resnet, 18),
    'mmdet 50': partial(mmdet_resnet, 50),
    'mmdet caffe 50': partial(mmdet_resnet, 50, style='caffe', frozen_stages=-1),
    'mmdet deep stem, average down, checkpoints': partial(
        mmdet_resnet, 50, deep_stem=True, avg_down=True, with_cp=True
    ),
    'mmdet dilated gn': partial(
        mmdet_resnet, 18, norm_cfg=dict(type='GN', num_groups=4), strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)
    ),
    'mmpretrain-like basic': partial(MiniResNet, bottleneck=False),
    'mmpretrain-like gn': partial(MiniResNet, norm_name='gn'),
}
